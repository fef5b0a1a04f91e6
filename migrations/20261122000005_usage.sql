-- Usage over long times, added up in advance. Everything here follows from the journal: `verify`
-- recomputes it, and without a row of it every answer is the same, only slower.

-- A pool's journal is cut into blocks of consecutive entries: on level 0 of `size` entries each,
-- on each higher level of several blocks of the one below. Block b of a level is the entries above
-- b * size, up to (b + 1) * size.
CREATE TABLE usage_heads (
    pool_id uuid NOT NULL,
    level smallint NOT NULL,
    -- Entries a block has. A pool keeps the size that its first block was made with.
    size bigint NOT NULL,
    -- How many blocks are built: those before it, without gaps.
    blocks bigint NOT NULL,
    -- On level 0: the instant of the first entry in them that names a user.
    tracking_since timestamptz,
    CONSTRAINT usage_heads_pk PRIMARY KEY (pool_id, level),
    CONSTRAINT usage_heads_blocks CHECK (size > 0 AND blocks > 0)
);

-- What the entries of a block count for, split in several ways: so a question reads the few lines of
-- the split it asks for. Written once, with its block.
CREATE TABLE usage_lines (
    pool_id uuid NOT NULL,
    level smallint NOT NULL,
    block bigint NOT NULL,
    -- 0: by day, operation, user, workspace and model together; 1: by operation; 2: by user; 3: by
    -- workspace; 4: by model; 5: by day; 6: by user and workspace.
    split smallint NOT NULL,
    line integer NOT NULL,
    -- Of the entries, in UTC. What a split does not split by is NULL.
    day date,
    operation text,
    user_id text,
    workspace_id text,
    model text,
    -- Hundredths of a credit, less what refunds gave back.
    monthly bigint NOT NULL,
    addon bigint NOT NULL,
    overdraft bigint NOT NULL,
    -- Debits.
    count bigint NOT NULL,
    -- What refunds gave back of the first two and lapsed at once.
    lapsed_monthly bigint NOT NULL,
    lapsed_addon bigint NOT NULL,
    CONSTRAINT usage_lines_pk PRIMARY KEY (pool_id, level, block, split, line),
    CONSTRAINT usage_lines_figures CHECK (count >= 0 AND lapsed_monthly >= 0 AND lapsed_addon >= 0)
);
