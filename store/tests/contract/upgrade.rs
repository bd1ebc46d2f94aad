//! What the migrations make of rows that earlier releases wrote.

use crate::fixture::Fixture;

crate::on_both!(keys_tenants_and_sizes_of_the_second_schema_are_taken_over,);

const SQLITE: [&str; 3] = [
    include_str!("../../../migrations/sqlite/0001_spine.sql"),
    include_str!("../../../migrations/sqlite/0002_webhooks.sql"),
    include_str!("../../../migrations/sqlite/0003_access.sql"),
];
const POSTGRES: [&str; 3] = [
    include_str!("../../../migrations/postgres/0001_spine.sql"),
    include_str!("../../../migrations/postgres/0002_webhooks.sql"),
    include_str!("../../../migrations/postgres/0003_access.sql"),
];

const ROWS: &str = "INSERT INTO tenant (id, name, key_salt, created_at) VALUES ('ten_1', 'a', '', 5); \
    INSERT INTO api_key (id, tenant_id, name, prefix, hash, created_at) VALUES ('key_1', 'ten_1', 'k', 'p1', '', 6); \
    INSERT INTO api_key (id, tenant_id, name, prefix, hash, created_at) VALUES ('key_2', NULL, 'o', 'p2', '', 7); \
    INSERT INTO message (id, tenant_id, instance_id, direction, chat, sender, whatsapp_id, status, body, created_at) \
    VALUES ('msg_1', 'ten_1', 'ins_gone', 'inbound', 'c', 's', 'w', 'received', 'ä', 8); \
    INSERT INTO event (tenant_id, seq, id, type, payload, created_at) VALUES ('ten_1', 1, 'evt_1', 'x', 'abc', 9);";

const FOUND: &str = "SELECT s.prefix || ' ' || s.key_id || ' ' || coalesce(s.tenant_id, '-') || ' ' || k.scopes \
    || ' ' || k.instances || ' ' || k.updated_at FROM api_key_secret AS s JOIN api_key AS k ON k.id = s.key_id \
    UNION ALL SELECT t.state || ' ' || t.limits || ' ' || t.updated_at FROM tenant AS t \
    UNION ALL SELECT u.tenant_id || ' ' || u.day || ' ' || u.stored_bytes FROM usage_day AS u \
    UNION ALL SELECT m.tenant_id || ' ' || m.id || ' ' || m.at FROM remains AS m";

async fn keys_tenants_and_sizes_of_the_second_schema_are_taken_over(f: Fixture) {
    let parts = if f.is_sqlite() { SQLITE } else { POSTGRES };
    let found = if f.is_sqlite() {
        let connection = rusqlite::Connection::open_in_memory().unwrap();
        connection
            .execute_batch(&[parts[0], parts[1], ROWS, parts[2]].concat())
            .unwrap();
        let mut statement = connection.prepare(FOUND).unwrap();
        let rows = statement.query_map([], |row| row.get::<_, String>(0)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>()
    } else {
        let place = "CREATE SCHEMA old; SET search_path = old;";
        f.sql(&[place, parts[0], parts[1], ROWS, parts[2], FOUND].concat())
            .await
    };
    assert_eq!(
        found,
        [
            "p1 key_1 ten_1 [\"*\"] [] 6",
            "p2 key_2 - [\"*\"] [] 7",
            "active {} 5",
            "ten_1 0 5",
            "ten_1 ins_gone 8",
        ]
    );
}
