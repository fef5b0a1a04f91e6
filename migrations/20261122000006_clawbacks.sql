-- What became of a purchase's payment. All credits are hundredths, amounts of money are in the
-- currency's smallest unit.

ALTER TABLE purchases
    -- What a promo code added to what was bought.
    ADD COLUMN bonus bigint NOT NULL DEFAULT 0,
    -- To when the purchase alone would keep the add-on pool; NULL where it was not kept yet.
    ADD COLUMN valid_until timestamptz,
    ADD COLUMN clawed_back bigint NOT NULL DEFAULT 0,
    -- The entry that opened the add-on pool that this was taken from.
    ADD COLUMN clawed_from bigint,
    ADD COLUMN uncollected bigint NOT NULL DEFAULT 0,
    -- The state of the payment that these follow from.
    ADD COLUMN payment_version bigint NOT NULL DEFAULT 0,
    ADD COLUMN charged bigint NOT NULL DEFAULT 0,
    ADD COLUMN refunded bigint NOT NULL DEFAULT 0,
    ADD COLUMN disputed bigint NOT NULL DEFAULT 0,
    ADD COLUMN dispute_lost bigint NOT NULL DEFAULT 0,
    ADD CONSTRAINT purchases_clawed_back CHECK (
        bonus >= 0 AND clawed_back >= 0 AND uncollected >= 0
        AND clawed_back + uncollected <= credits + bonus
    );

CREATE INDEX purchases_of_reference ON purchases (tenant_id, payment_reference);

-- A purchase that is credited. It takes the place of `purchase_input`, which stays for services that
-- do not know the columns above.
CREATE TYPE credited_purchase_input AS (
    pool_id uuid,
    purchase_id uuid,
    tenant_id uuid,
    seq bigint,
    credits bigint,
    bonus bigint,
    payment_reference text,
    paid_at timestamptz,
    expires_at timestamptz,
    valid_until timestamptz,
    amount_cents bigint,
    currency text,
    user_id text,
    created_at timestamptz
);

-- What became of one.
CREATE TYPE bought_input AS (
    pool_id uuid,
    seq bigint,
    clawed_back bigint,
    clawed_from bigint,
    uncollected bigint,
    payment_version bigint,
    charged bigint,
    refunded bigint,
    disputed bigint,
    dispute_lost bigint
);
