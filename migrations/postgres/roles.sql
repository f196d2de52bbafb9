-- Least privilege, to be run by an administrator after `pg-outbox-clickhouse migrate`, and again after each upgrade, which may
-- bring tables that need grants. It takes from PUBLIC the right to write messages into WAL: grant EXECUTE on
-- pg_logical_emit_message again to the roles that need it (Debezium's heartbeats). All else that is there stays as it is:
--
--   psql "$ADMIN_URL" -f migrations/postgres/roles.sql
--
-- The roles of an outbox in another schema (OUTBOX_SCHEMA) are called like it, such as billing_producer:
--
--   psql "$ADMIN_URL" -c "SET outbox.schema = 'billing'" -f migrations/postgres/roles.sql
--
-- outbox_producer   what an application needs: INSERT into the outbox (but for the columns that the server writes), also by outbox.emit(…), nothing else. Grant it to the role of your application:
--                   GRANT outbox_producer TO my_app;
-- outbox_streamer   what the streamer logs in as. Give it a password:  \password outbox_streamer
-- outbox_console    what a console logs in as that only reads; one that retries and discards logs in as outbox_streamer. It reads
--                   all events. It has no password either until you give it one.
--
-- outbox_eraser     what `erase` logs in as: who may remove events for ever. It is not made here: CREATE ROLE outbox_eraser LOGIN, then
--                   run this again, and it gets what it needs.
--
-- Where one of these roles is there and another role may grant it, that role could read all events: nothing is granted that is new to
-- either, until the role is dropped. Nor is REPLICATION, where part of the schema belongs to a role that is neither you, nor a superuser,
-- nor the owner of the database: its triggers would run as the streamer.
--
-- REPLICATION is an attribute and is not inherited through a grant. A role that has it can take a base backup of the
-- whole cluster: keep its credential off application hosts.
DO $$
DECLARE
	partition pg_catalog.regclass;
	function pg_catalog.regprocedure;
	held pg_catalog.record;
	home pg_catalog.text;
	producer pg_catalog.text;
	streamer pg_catalog.text;
	console pg_catalog.text;
	eraser pg_catalog.text;
	events pg_catalog.text;
	owners pg_catalog.oid[];
	-- what the roles have themselves: what others lend them, such as PUBLIC, can be taken away again
	own CONSTANT pg_catalog.text := $own$
		SELECT coalesce(array_agg(rolname || ' ' || what), '{}') FROM pg_roles r, LATERAL (
			SELECT 'REPLICATION' AS what WHERE r.rolreplication
			 UNION ALL SELECT 'REPLICATION' FROM pg_auth_members JOIN pg_roles g ON g.oid = roleid WHERE member = r.oid AND g.rolname = 'rds_replication'
			 UNION ALL SELECT format('%s on %s %s', privilege_type, kind, id) FROM (
				SELECT 'schema' AS kind, oid::text AS id, nspacl AS acl FROM pg_namespace
				 UNION ALL SELECT 'table', oid::text, relacl FROM pg_class
				 UNION ALL SELECT 'column', attrelid || '.' || attnum, attacl FROM pg_attribute
				 UNION ALL SELECT 'function', oid::text, proacl FROM pg_proc) AS things, aclexplode(acl)
			 WHERE grantee = r.oid) AS possessions
		 WHERE rolname IN ($1, $2, $3, $4)$own$;
	was_there pg_catalog.bool;
	before pg_catalog.text[];
	given pg_catalog.text[];
BEGIN
	-- nothing that somebody made in another schema is called below (CVE-2018-1058)
	PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
	home := coalesce(nullif(current_setting('outbox.schema', true), ''), 'outbox');
	producer := regexp_replace('outbox_producer', '^outbox', home);
	streamer := regexp_replace('outbox_streamer', '^outbox', home);
	console := regexp_replace('outbox_console', '^outbox', home);
	eraser := regexp_replace('outbox_eraser', '^outbox', home);
	events := format('%I.event', home);
	SELECT array_agg(DISTINCT owner) INTO owners FROM (
		SELECT nspowner AS owner FROM pg_namespace WHERE nspname = home
		 UNION ALL SELECT relowner FROM pg_class WHERE relnamespace = to_regnamespace(quote_ident(home)) AND relkind IN ('r', 'p', 'v')
		 UNION ALL SELECT proowner FROM pg_proc WHERE pronamespace = to_regnamespace(quote_ident(home))) AS things;
	EXECUTE own INTO before USING producer, streamer, console, eraser;
	was_there := EXISTS (SELECT FROM pg_roles WHERE rolname = streamer AND rolcanlogin);
	IF EXISTS (SELECT FROM pg_roles WHERE rolname = producer AND rolcanlogin) THEN
		RAISE WARNING '% may log in: who knows its password emits events', producer
			USING HINT = format('If it should not: ALTER ROLE %I NOLOGIN', producer);
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = producer) THEN
		EXECUTE format('CREATE ROLE %I NOLOGIN', producer);
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = streamer) THEN
		EXECUTE format('CREATE ROLE %I LOGIN', streamer);
	END IF;
	IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = console) THEN
		EXECUTE format('CREATE ROLE %I LOGIN', console);
	END IF;
	BEGIN
		-- on RDS and Aurora the attribute is another role's to give
		IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_replication') THEN
			EXECUTE format('GRANT rds_replication TO %I', streamer);
		ELSIF NOT (SELECT rolreplication FROM pg_roles WHERE rolname = streamer) THEN
			EXECUTE format('ALTER ROLE %I REPLICATION', streamer);
		END IF;
	EXCEPTION WHEN insufficient_privilege THEN
		RAISE WARNING '% may not replicate yet: %, who runs this, may not let it', streamer, current_user
			USING HINT = 'Run this as a role that has REPLICATION itself (Postgres 16 and newer), or see docs/managed-postgres.md.';
	END;

	EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I, %I, %I', home, producer, streamer, console);
	-- the server writes recorded_at, recorded_by and bucket
	IF has_table_privilege(producer, events, 'INSERT') THEN
		EXECUTE format('REVOKE INSERT ON %s FROM %I', events, producer);
	END IF;
	EXECUTE format('GRANT INSERT (event_id, event_type, event_date_time, environment, event_context, metadata_version, subject, traceparent, tracestate)
		ON %s TO %I', events, producer);
	EXECUTE format('GRANT EXECUTE ON FUNCTION %I.emit TO %I', home, producer);
	EXECUTE format('GRANT SELECT ON %s TO %I', events, streamer);
	EXECUTE format('GRANT SELECT, UPDATE ON %I.stream TO %I', home, streamer);
	EXECUTE format('GRANT SELECT, INSERT, UPDATE, DELETE ON %I.quarantine TO %I', home, streamer);
	-- nobody changes or removes one
	EXECUTE format('GRANT SELECT, INSERT ON %I.manifest TO %I', home, streamer);
	-- what doctor compares with this version's migrations
	EXECUTE format('GRANT SELECT ON %I.migration TO %I', home, streamer);
	EXECUTE format('GRANT SELECT ON %1$s, %2$I.stream, %2$I.quarantine, %2$I.manifest, %2$I.migration TO %3$I', events, home, console);
	EXECUTE format('GRANT SELECT ON %1$I.erasure TO %2$I, %3$I', home, streamer, console);
	IF EXISTS (SELECT FROM pg_roles WHERE rolname = eraser) THEN
		EXECUTE format('GRANT USAGE ON SCHEMA %I TO %I', home, eraser);
		EXECUTE format('GRANT SELECT, DELETE ON %s, %I.quarantine TO %I', events, home, eraser);
		EXECUTE format('GRANT SELECT, INSERT, UPDATE ON %I.erasure TO %I', home, eraser);
		EXECUTE format('GRANT SELECT ON %1$I.stream, %1$I.migration TO %2$I', home, eraser);
	END IF;
	-- expired rows are removed by TRUNCATE from the partitions that hold them
	FOR partition IN SELECT relid FROM pg_partition_tree(events::regclass) WHERE isleaf LOOP
		EXECUTE format('GRANT SELECT, TRUNCATE ON %s TO %I', partition, streamer);
	END LOOP;
	-- with it any login could fill WAL that the slot keeps, beside a transaction that stays open
	FOR function IN SELECT oid FROM pg_proc WHERE pronamespace = 'pg_catalog'::regnamespace AND proname = 'pg_logical_emit_message' LOOP
		IF pg_has_role((SELECT proowner FROM pg_proc WHERE oid = function), 'MEMBER') THEN
			EXECUTE format('REVOKE EXECUTE ON FUNCTION %s FROM PUBLIC', function);
		END IF;
		IF has_function_privilege('public', function, 'EXECUTE') THEN
			RAISE NOTICE 'only a superuser may revoke EXECUTE on % from PUBLIC', function;
		END IF;
	END LOOP;
	EXECUTE own INTO given USING producer, streamer, console, eraser;
	given := ARRAY(SELECT unnest(given) EXCEPT SELECT unnest(before));
	-- who has made a role may grant it to itself (Postgres 16); what fails here leaves nothing of the above
	FOR held IN
		SELECT DISTINCT r.rolname AS role, m.rolname AS holder,
		       EXISTS (SELECT FROM unnest(given) AS line
		                WHERE starts_with(line, r.rolname || ' ')
		                  AND CASE WHEN line = r.rolname || ' REPLICATION' THEN NOT m.rolreplication ELSE m.oid <> ALL (owners) OR cardinality(owners) > 1 END) AS gains
		  FROM pg_auth_members JOIN pg_roles r ON r.oid = roleid JOIN pg_roles m ON m.oid = member
		 WHERE r.rolname IN (producer, streamer, console, eraser) AND admin_option AND NOT m.rolsuper AND m.rolname <> current_user
	LOOP
		IF held.gains THEN
			RAISE EXCEPTION 'the role % is not yours alone: % may grant it to anyone, itself too', held.role, quote_ident(held.holder)
				USING HINT = format('DROP OWNED BY %1$I in each database where it has something, DROP ROLE %1$I, then run this again. REVOKE alone would leave its sessions and its password.', held.role);
		ELSIF held.holder <> ALL (SELECT rolname FROM pg_roles WHERE oid = ANY (owners)) THEN
			RAISE WARNING '% may grant % to anyone, itself too', quote_ident(held.holder), held.role
				USING HINT = format('If it should not: REVOKE %I FROM %I CASCADE, then give %1$I a new password and end its sessions.', held.role, held.holder);
		END IF;
	END LOOP;
	-- a trigger of theirs would run as the streamer
	FOR held IN
		SELECT rolname AS owner, oid = (SELECT datdba FROM pg_database WHERE datname = current_database()) AS is_trusted FROM pg_roles
		 WHERE oid = ANY (owners) AND NOT rolsuper AND NOT rolreplication AND rolname <> current_user AND streamer || ' REPLICATION' = ANY (given)
	LOOP
		IF held.is_trusted THEN
			RAISE WARNING '%, who owns what % uses, could have code run as it, which may replicate the whole cluster from now on', quote_ident(held.owner), streamer
				USING HINT = format('If it should not: ALTER ROLE %I NOREPLICATION, and run migrate as a role that you trust.', streamer);
		ELSE
			RAISE EXCEPTION 'not all of the schema % is yours: % could have code run as %, which may replicate the whole cluster', home, quote_ident(held.owner), streamer
				USING HINT = format('Run migrate as %I, which says how it gets to be yours. If you trust that role with all of the cluster: CREATE ROLE %2$I LOGIN REPLICATION, then run this again.', current_user, streamer);
		END IF;
	END LOOP;
	IF was_there AND NOT EXISTS (SELECT FROM unnest(before) AS line WHERE starts_with(line, streamer || ' ')) THEN
		RAISE NOTICE '% was there before: who knows its password, or has a session of it, may now do what it may', streamer
			USING HINT = format('If you did not make it: DROP OWNED BY %1$I in each database where it has something, DROP ROLE %1$I, then run this again.', streamer);
	END IF;
END $$;
