-- Nothing that somebody made in another schema is called below (CVE-2018-1058).
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
--> statement-breakpoint
-- What ClickHouse calls a stream stays, on whatever server it goes on.
ALTER TABLE "outbox"."stream" ADD COLUMN "source" text;
--> statement-breakpoint
UPDATE "outbox"."stream" SET "source" = "system_id" || '/' || "slot_name";
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ALTER COLUMN "source" SET NOT NULL;
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ADD COLUMN "detached_at" timestamp (6) with time zone;
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ADD COLUMN "moved_at" timestamp (6) with time zone;
