-- Erasures: whose events were removed for ever, by whom and why, never which. A row that has not ended was killed: the same erase goes on.
CREATE TABLE "outbox"."erasure" (
	"id" uuid PRIMARY KEY NOT NULL,
	"filter" text NOT NULL,
	"reason" text NOT NULL,
	"begun_by" text DEFAULT session_user NOT NULL,
	"begun_at" timestamp (6) with time zone DEFAULT now() NOT NULL,
	"before_lsn" "pg_lsn",
	"ended_at" timestamp (6) with time zone,
	"events" bigint,
	"tombstones" text
);
