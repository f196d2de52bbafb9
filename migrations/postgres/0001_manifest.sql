-- The manifests of the events' hours, a chain for each source: the streamer writes them, and nobody changes them (docs/auditors.md).
CREATE TABLE "outbox"."manifest" (
	"source" text NOT NULL,
	"number" bigint NOT NULL,
	"hour" timestamp (6) with time zone NOT NULL,
	"part" integer NOT NULL,
	"events" bigint NOT NULL,
	"first_lsn" "pg_lsn" NOT NULL,
	"last_lsn" "pg_lsn" NOT NULL,
	"last_delivered_at" timestamp (6) with time zone NOT NULL,
	"witnessed" text NOT NULL,
	"delivered" text NOT NULL,
	"added" text[] NOT NULL,
	"absent" text[] NOT NULL,
	"made_at" timestamp (6) with time zone NOT NULL,
	"previous" text NOT NULL,
	"key_id" text NOT NULL,
	"hash" text NOT NULL,
	"signature" text NOT NULL,
	CONSTRAINT "manifest_source_number_pk" PRIMARY KEY("source","number"),
	CONSTRAINT "manifest_hour" UNIQUE("source","hour","part")
);
