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
	"metadata_version" bigint DEFAULT 1 NOT NULL,
	"subject" text DEFAULT '' NOT NULL,
	"traceparent" text,
	"tracestate" text,
	"recorded_at" timestamp (6) with time zone DEFAULT now() NOT NULL,
	"recorded_by" text DEFAULT session_user NOT NULL,
	"bucket" smallint DEFAULT ((extract(epoch FROM now())::bigint / 86400) % 32) NOT NULL,
	CONSTRAINT "event_type_fits" CHECK (octet_length(event_type) BETWEEN 1 AND 65535),
	CONSTRAINT "environment_fits" CHECK (octet_length(environment) <= 65535),
	CONSTRAINT "metadata_version_fits" CHECK (metadata_version >= 0),
	CONSTRAINT "subject_fits" CHECK (octet_length(subject) <= 65535),
	CONSTRAINT "event_context_fits" CHECK (octet_length(event_context::text) <= 67108864),
	CONSTRAINT "event_context_is_object" CHECK (json_typeof(event_context) = 'object'),
	CONSTRAINT "trace_fits" CHECK (octet_length(traceparent) <= 512 AND octet_length(tracestate) <= 8192)
) PARTITION BY LIST ("bucket");
--> statement-breakpoint
DO $$
BEGIN
	-- The streamer reads UTF8: a character that another encoding takes and UTF8 does not have would stop all events behind it.
	IF current_setting('server_encoding') <> 'UTF8' THEN
		ALTER TABLE outbox.event ADD CONSTRAINT texts_are_utf8 CHECK (num_nulls(
			convert_to(event_type, 'UTF8'), convert_to(environment, 'UTF8'), convert_to(event_context::text, 'UTF8'),
			convert_to(subject, 'UTF8'), convert_to(traceparent, 'UTF8'), convert_to(tracestate, 'UTF8'), convert_to(recorded_by, 'UTF8')) >= 0);
	END IF;
	FOR bucket IN 0..31 LOOP
		EXECUTE format('CREATE TABLE outbox.%I PARTITION OF outbox.event FOR VALUES IN (%s)', 'event_' || lpad(bucket::text, 2, '0'), bucket);
	END LOOP;
END $$;
--> statement-breakpoint
-- The ledger, one row a slot: how far ClickHouse has the events, and which insert may be under way.
CREATE TABLE "outbox"."stream" (
	"slot_name" text PRIMARY KEY NOT NULL,
	"system_id" text NOT NULL,
	"source" text NOT NULL,
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
	"acked_lsn" "pg_lsn",
	"holder_pid" integer,
	"repair_began_at" timestamp (6) with time zone,
	"refused_at" timestamp (6) with time zone,
	"refused" text,
	"ends_lsn" "pg_lsn",
	"ends_in" "pg_snapshot",
	"ends_at" timestamp (6) with time zone,
	"begins_lsn" "pg_lsn",
	"begins_in" "pg_snapshot",
	"begins_at" timestamp (6) with time zone,
	"detached_at" timestamp (6) with time zone,
	"moved_at" timestamp (6) with time zone,
	CONSTRAINT "stream_pending_is_whole" CHECK (num_nulls(pending_lsn, pending_seq, pending_rows, pending_token, pending_at) IN (0, 5))
) WITH (fillfactor = 10);
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
	"metadata_version" bigint NOT NULL,
	"subject" text NOT NULL,
	"committed_at" timestamp (6) with time zone NOT NULL,
	"trace_id" text NOT NULL,
	"span_id" text NOT NULL,
	"recorded_at" timestamp (6) with time zone NOT NULL,
	"recorded_by" text NOT NULL,
	"reason" text NOT NULL,
	"clickhouse_code" integer,
	"quarantined_at" timestamp (6) with time zone DEFAULT now() NOT NULL,
	"retried_at" timestamp (6) with time zone,
	"discarded_at" timestamp (6) with time zone
);
--> statement-breakpoint
CREATE INDEX "quarantine_slot_name" ON "outbox"."quarantine" USING btree ("slot_name");
--> statement-breakpoint
-- Emitting from SQL: any language, a trigger, psql. An INSERT in the caller's transaction, under the caller's privileges.
CREATE FUNCTION "outbox"."emit"(
	"event_type" text,
	"event_context" json,
	"event_id" uuid DEFAULT NULL,
	"event_date_time" timestamp with time zone DEFAULT NULL,
	"environment" text DEFAULT '',
	"metadata_version" bigint DEFAULT 1,
	"subject" text DEFAULT '',
	"traceparent" text DEFAULT NULL,
	"tracestate" text DEFAULT NULL
) RETURNS uuid
	LANGUAGE plpgsql
	VOLATILE
	SECURITY INVOKER
	SET search_path = pg_catalog, pg_temp
AS $$
#variable_conflict use_variable
DECLARE
	id uuid := event_id;
BEGIN
	-- what the library refuses too; the message quotes nothing of the event
	IF event_type = '' OR event_type IS NULL THEN
		RAISE EXCEPTION 'outbox.emit: event_type is empty' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF json_typeof(event_context) IS DISTINCT FROM 'object' THEN
		RAISE EXCEPTION 'outbox.emit: event_context is not a JSON object' USING ERRCODE = 'invalid_parameter_value';
	END IF;
	IF id IS NULL THEN
		-- ids that grow with time, where the server can make them
		IF current_setting('server_version_num')::int >= 180000 THEN
			id := uuidv7();
		ELSE
			id := gen_random_uuid();
		END IF;
	END IF;
	INSERT INTO outbox.event
		(event_id, event_type, event_date_time, environment, event_context, metadata_version, subject, traceparent, tracestate)
	VALUES
		(id, event_type, coalesce(event_date_time, now()), coalesce(environment, ''), event_context,
			coalesce(metadata_version, 1), coalesce(subject, ''), traceparent, tracestate);
	IF NOT FOUND THEN
		RAISE EXCEPTION 'outbox.emit: a trigger or a rule of outbox.event dropped the event';
	END IF;
	RETURN id;
END $$;
--> statement-breakpoint
-- One that is left over is made right by `migrate`.
DO $$
BEGIN
	IF NOT EXISTS (SELECT FROM pg_publication WHERE pubname = 'outbox') THEN
		CREATE PUBLICATION "outbox"
			FOR TABLE "outbox"."event" ("event_id", "event_type", "event_date_time", "environment", "event_context", "metadata_version", "subject", "traceparent", "recorded_at", "recorded_by")
			WITH (publish = 'insert', publish_via_partition_root = true);
	END IF;
END $$;
