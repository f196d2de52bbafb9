-- Nothing that somebody made in another schema is called below (CVE-2018-1058).
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
--> statement-breakpoint
-- Events that ClickHouse refuses, each alone, with their exact text. Written in the same statement that moves the ledger past them.
CREATE TABLE "outbox"."quarantine" (
	"id" bigint PRIMARY KEY GENERATED ALWAYS AS IDENTITY,
	"slot_name" text NOT NULL,
	"source" text NOT NULL,
	"lsn" "pg_lsn" NOT NULL,
	"seq" bigint NOT NULL,
	"event_id" uuid NOT NULL,
	"event_type" text NOT NULL,
	"event_date_time" timestamp (6) with time zone NOT NULL,
	"environment" text NOT NULL,
	"event_context" text NOT NULL,
	"metadata_version" integer NOT NULL,
	"committed_at" timestamp (6) with time zone NOT NULL,
	"trace_id" text NOT NULL,
	"span_id" text NOT NULL,
	"recorded_by" text NOT NULL,
	"reason" text NOT NULL,
	"clickhouse_code" integer,
	"quarantined_at" timestamp (6) with time zone DEFAULT now() NOT NULL,
	"retried_at" timestamp (6) with time zone,
	"discarded_at" timestamp (6) with time zone
);
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ADD COLUMN "acked_lsn" "pg_lsn";
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ADD COLUMN "holder_pid" integer;
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ADD COLUMN "repair_began_at" timestamp (6) with time zone;
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ADD COLUMN "refused_at" timestamp (6) with time zone;
--> statement-breakpoint
ALTER TABLE "outbox"."stream" ADD COLUMN "refused" text;
--> statement-breakpoint
CREATE INDEX "quarantine_slot_name" ON "outbox"."quarantine" USING btree ("slot_name");
