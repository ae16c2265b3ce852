-- What the program uses of Citus: its table of tables, and two functions with the signatures and the refusals of the
-- real ones. They write down how they were called, and distribute nothing.
CREATE SCHEMA citus;

CREATE TABLE citus.pg_dist_partition (
    logicalrelid regclass PRIMARY KEY,
    -- h: spread by the hash of a column, n: by nothing
    partmethod "char" NOT NULL,
    -- t: each node has it whole, s: not so
    repmodel "char" NOT NULL
);
CREATE TABLE citus.call_log (number serial PRIMARY KEY, call text NOT NULL);
-- Tables that cannot be distributed.
CREATE TABLE citus.refusals (table_name regclass PRIMARY KEY);

CREATE FUNCTION citus.take(table_name regclass, method "char", model "char", call text) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF EXISTS (SELECT FROM citus.refusals r WHERE r.table_name = take.table_name) THEN
        RAISE EXCEPTION 'a worker says no to %', table_name;
    END IF;
    -- What is only known to the coordinator may be turned into anything.
    IF EXISTS (SELECT FROM citus.pg_dist_partition WHERE logicalrelid = table_name AND (partmethod, repmodel) <> ('n', 's'))
    THEN
        RAISE EXCEPTION 'table "%" is already distributed', table_name;
    END IF;
    INSERT INTO citus.pg_dist_partition VALUES (table_name, method, model)
    ON CONFLICT (logicalrelid) DO UPDATE SET partmethod = method, repmodel = model;
    INSERT INTO citus.call_log (call) VALUES (call);
END $$;

CREATE FUNCTION citus.create_reference_table(table_name regclass) RETURNS void
LANGUAGE sql AS $$
    SELECT citus.take(table_name, 'n', 't', format('reference %s', table_name))
$$;

CREATE FUNCTION citus.create_distributed_table(
    table_name regclass,
    distribution_column text,
    distribution_type text DEFAULT 'hash',
    colocate_with text DEFAULT 'default',
    shard_count int DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql AS $$
BEGIN
    IF colocate_with NOT IN ('default', 'none') THEN
        IF shard_count IS NOT NULL THEN
            RAISE EXCEPTION 'shard_count cannot be used when the table is colocated with an existing table';
        END IF;
        IF NOT EXISTS (
            SELECT FROM citus.pg_dist_partition WHERE logicalrelid = colocate_with::regclass AND partmethod = 'h'
        ) THEN
            RAISE EXCEPTION 'relation % is not distributed', colocate_with;
        END IF;
    END IF;
    IF EXISTS (
        SELECT FROM pg_index i WHERE i.indrelid = table_name AND i.indisunique AND NOT EXISTS (
            SELECT FROM pg_attribute a
            WHERE a.attrelid = table_name AND a.attname = distribution_column AND a.attnum = ANY (i.indkey)
        )
    ) THEN
        RAISE EXCEPTION 'cannot create constraint on "%": distributed relations cannot have UNIQUE, EXCLUDE, or '
            'PRIMARY KEY constraints that do not include the partition column', table_name;
    END IF;
    PERFORM citus.take(table_name, 'h', 's', format(
        '%s of %s by %s, colocated with %s, %s shards', distribution_type, table_name, distribution_column,
        colocate_with, coalesce(shard_count::text, 'its')));
END $$;

-- Later connections find it by its names, as if it were in pg_catalog.
DO $$
BEGIN
    EXECUTE format('ALTER DATABASE %I SET search_path = public, citus', current_database());
END $$;
