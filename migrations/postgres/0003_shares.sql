-- Nothing that somebody made in another schema is called below (CVE-2018-1058).
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
--> statement-breakpoint
-- Where `reshard` has moved an outbox to other shares: what is committed before ends_lsn, which the snapshot ends_in sees, is delivered
-- by this slot; what is committed before begins_lsn, which begins_in sees, was delivered by others.
ALTER TABLE "outbox"."stream" ADD COLUMN "ends_lsn" "pg_lsn";
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ADD COLUMN "ends_in" "pg_snapshot";
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ADD COLUMN "begins_lsn" "pg_lsn";
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ADD COLUMN "begins_in" "pg_snapshot";
