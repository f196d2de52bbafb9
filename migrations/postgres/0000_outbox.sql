-- The outbox: written by applications, read by the streamer through logical decoding.
-- Nothing that somebody made in another schema is called below (CVE-2018-1058).
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
--> statement-breakpoint
CREATE SCHEMA IF NOT EXISTS "outbox";
--> statement-breakpoint
-- A ring of partitions, one a day, made once: retention empties the oldest with TRUNCATE, and no DDL ever queues producers.
-- The constraints are what the library refuses, too: an event that is too large to be read would stop all others.
-- No index and no primary key: an event costs its caller one heap insert. Ids need not be unique: two rows, two events.
CREATE TABLE "outbox"."event" (
	"event_id" uuid DEFAULT gen_random_uuid() NOT NULL,
	"event_type" text NOT NULL,
	"event_date_time" timestamp (6) with time zone DEFAULT now() NOT NULL,
	"environment" text DEFAULT '' NOT NULL,
	"event_context" json NOT NULL,
	"metadata_version" integer DEFAULT 1 NOT NULL,
	"traceparent" text,
	"tracestate" text,
	"recorded_at" timestamp (6) with time zone DEFAULT now() NOT NULL,
	"recorded_by" text DEFAULT session_user NOT NULL,
	"bucket" smallint DEFAULT ((extract(epoch FROM now())::bigint / 86400) % 32) NOT NULL,
	CONSTRAINT "event_type_fits" CHECK (octet_length(event_type) BETWEEN 1 AND 65535),
	CONSTRAINT "environment_fits" CHECK (octet_length(environment) <= 65535),
	CONSTRAINT "event_context_fits" CHECK (octet_length(event_context::text) <= 67108864),
	CONSTRAINT "event_context_is_object" CHECK (json_typeof(event_context) = 'object'),
	CONSTRAINT "trace_fits" CHECK (octet_length(traceparent) <= 512 AND octet_length(tracestate) <= 8192)
) PARTITION BY LIST ("bucket");
--> statement-breakpoint
DO $$
BEGIN
	FOR bucket IN 0..31 LOOP
		EXECUTE format('CREATE TABLE outbox.%I PARTITION OF outbox.event FOR VALUES IN (%s)', 'event_' || lpad(bucket::text, 2, '0'), bucket);
	END LOOP;
END $$;
--> statement-breakpoint
-- The ledger, one row a slot: how far ClickHouse has the events, and which insert may be under way.
CREATE TABLE "outbox"."stream" (
	"slot_name" text PRIMARY KEY NOT NULL,
	"system_id" text NOT NULL,
	"timeline" integer,
	"publication" text,
	"epoch" bigint DEFAULT 0 NOT NULL,
	"delivered_lsn" "pg_lsn" DEFAULT '0/0' NOT NULL,
	"delivered_seq" bigint DEFAULT 0 NOT NULL,
	"pending_lsn" "pg_lsn",
	"pending_seq" bigint,
	"pending_rows" integer,
	"pending_token" text,
	"pending_at" timestamp (6) with time zone,
	"read_back_below" "pg_lsn",
	"target" text,
	CONSTRAINT "stream_pending_is_whole" CHECK (num_nulls(pending_lsn, pending_seq, pending_rows, pending_token, pending_at) IN (0, 5))
) WITH (fillfactor = 10);
--> statement-breakpoint
-- One that is left over is made right by `migrate`.
DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'outbox') THEN
		CREATE PUBLICATION "outbox"
			FOR TABLE "outbox"."event" ("event_id", "event_type", "event_date_time", "environment", "event_context", "metadata_version", "traceparent", "recorded_by")
			WITH (publish = 'insert', publish_via_partition_root = true);
	END IF;
END $$;
