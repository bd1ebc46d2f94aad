use super::*;

static SAMPLE: Statement = Statement::with_rows(
    "INSERT INTO t SELECT a, b, c, $1 FROM {rows} AS r{pg: FOR UPDATE}{lite: WHERE true}",
    &[Column::Text("a"), Column::Bytes("b"), Column::Int("c")],
);

#[test]
fn a_statement_is_written_in_both_dialects() {
    assert_eq!(
        &*SAMPLE.sql(Dialect::Sqlite),
        "INSERT INTO t SELECT a, b, c, ?1 FROM (SELECT j.value->>0 AS a, \
         substr(?3, j.value->>1, j.value->>2) AS b, j.value->>3 AS c FROM json_each(?2) AS j) AS r WHERE true"
    );
    assert_eq!(
        &*SAMPLE.sql(Dialect::Postgres),
        "INSERT INTO t SELECT a, b, c, $1 FROM (SELECT * FROM UNNEST($2::text[], $3::bytea[], $4::bigint[]) \
         AS u (a, b, c)) AS r FOR UPDATE"
    );
}

#[tokio::test]
async fn every_text_and_blob_comes_back_as_it_went_in() {
    static ECHO: Statement = Statement::with_rows(
        "SELECT r.t, r.b, r.i FROM {rows} AS r",
        &[Column::Text("t"), Column::Bytes("b"), Column::Int("i")],
    );
    let mut connection = Connection::Sqlite(
        SqliteConnectOptions::new()
            .in_memory(true)
            .connect()
            .await
            .unwrap(),
    );
    let texts = [
        "",
        "plain",
        "\"quoted\" \\ back",
        "line\nbreak\ttab\u{1}",
        "😀 ü",
        "\u{7f}\u{2028}",
    ];
    let mut rows = ECHO.rows(Dialect::Sqlite);
    for (n, text) in texts.iter().enumerate() {
        rows.text(text)
            .bytes(&[n as u8, 0, 255])
            .opt_int((n > 0).then_some(i64::MAX - n as i64))
            .end();
    }
    rows.opt_text(None).bytes(&[]).int(i64::MIN).end();
    rows.text("nul\0byte").bytes(b"x").int(0).end();
    let found = connection
        .fetch(&ECHO, Args::new(Dialect::Sqlite).rows(rows))
        .await
        .unwrap();
    for (n, text) in texts.iter().enumerate() {
        assert_eq!(found[n].str(0).unwrap(), *text);
        assert_eq!(found[n].bytes(1).unwrap(), [n as u8, 0, 255]);
        assert_eq!(
            found[n].opt_int(2).unwrap(),
            (n > 0).then_some(i64::MAX - n as i64)
        );
    }
    assert_eq!(found[texts.len()].opt_str(0).unwrap(), None);
    assert_eq!(found[texts.len()].int(2).unwrap(), i64::MIN);
    assert_eq!(found[texts.len() + 1].str(0).unwrap(), "nul\u{FFFD}byte");
}
