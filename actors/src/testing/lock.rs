//! A database that cannot be written for a while.

use std::time::Duration;

use super::TestNode;

/// Holds SQLite's write lock, as a backup tool or a stuck process would.
pub struct Lock(sqlx::SqliteConnection);

impl Lock {
    pub async fn take(node: &TestNode) -> Self {
        use sqlx::{ConnectOptions as _, Executor as _};
        let options = sqlx::sqlite::SqliteConnectOptions::new().filename(node.database());
        let mut connection = options
            .busy_timeout(Duration::from_secs(10))
            .connect()
            .await
            .unwrap();
        connection.execute("BEGIN IMMEDIATE").await.unwrap();
        Self(connection)
    }

    pub async fn release(mut self) {
        use sqlx::{Connection as _, Executor as _};
        self.0.execute("ROLLBACK").await.unwrap();
        self.0.close().await.unwrap();
    }
}
