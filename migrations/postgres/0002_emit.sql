-- Nothing that somebody made in another schema is called below (CVE-2018-1058).
SELECT pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
--> statement-breakpoint
-- Emitting from SQL: any language, a trigger, psql. An INSERT in the caller's transaction, under the caller's privileges.
CREATE FUNCTION "outbox"."emit"(
	"event_type" text,
	"event_context" json,
	"event_id" uuid DEFAULT NULL,
	"event_date_time" timestamp with time zone DEFAULT NULL,
	"environment" text DEFAULT '',
	"metadata_version" integer DEFAULT 1,
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
		(event_id, event_type, event_date_time, environment, event_context, metadata_version, traceparent, tracestate)
	VALUES
		(id, event_type, coalesce(event_date_time, now()), coalesce(environment, ''), event_context,
			coalesce(metadata_version, 1), traceparent, tracestate);
	RETURN id;
END $$;
