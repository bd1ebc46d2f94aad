//! The tables. All have one layout: whose row it is (account, device), which one (item, name), and a
//! value in MessagePack, so that one statement per table writes and one reads.

macro_rules! tables {
    ($($(#[$doc:meta])* $table:ident = $name:literal,)*) => {
        /// A kind of rows.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub(in crate::server) enum Table { $($(#[$doc])* $table,)* }

        impl Table {
            pub const ALL: &'static [Self] = &[$(Self::$table,)*];

            pub fn name(self) -> &'static str {
                match self { $(Self::$table => $name,)* }
            }

            pub(super) fn statements(self) -> &'static Statements {
                match self { $(Self::$table => &const { Statements {
                    create: concat!("CREATE TABLE IF NOT EXISTS ", $name, " (account INTEGER NOT NULL, device INTEGER NOT NULL, ",
                        "item INTEGER NOT NULL, name TEXT NOT NULL, value BLOB NOT NULL, ",
                        "PRIMARY KEY (account, device, item, name)) STRICT, WITHOUT ROWID"),
                    read: concat!("SELECT account, device, item, name, value FROM ", $name,
                        " ORDER BY account, device, item, name"),
                    put: concat!("INSERT OR REPLACE INTO ", $name,
                        " (account, device, item, name, value) VALUES (?, ?, ?, ?, ?)"),
                    put_eight: concat!("INSERT OR REPLACE INTO ", $name,
                        " (account, device, item, name, value) VALUES (?, ?, ?, ?, ?), (?, ?, ?, ?, ?), ",
                        "(?, ?, ?, ?, ?), (?, ?, ?, ?, ?), (?, ?, ?, ?, ?), (?, ?, ?, ?, ?), ",
                        "(?, ?, ?, ?, ?), (?, ?, ?, ?, ?)"),
                    delete: concat!("DELETE FROM ", $name,
                        " WHERE account = ? AND device = ? AND item = ? AND name = ?"),
                } },)* }
            }
        }
    };
}

tables! {
    /// Account 0 is the service itself.
    Setting = "setting",
    Account = "account",
    /// By the phone number and device of who holds the account's device list.
    Watcher = "watcher",
    /// Files of the media service, by number.
    Media = "media",
    /// By collection and version.
    Patch = "app_state_patch",
    Device = "device",
    /// By position: the order of upload.
    Prekey = "prekey",
    Queue = "queue_entry",
    Settled = "settled_message",
    Phone = "phone",
    PhoneKey = "phone_key",
    /// By address.
    Session = "phone_session",
    Job = "phone_job",
    Message = "phone_message",
    Seen = "phone_seen",
    Sent = "phone_sent",
    /// Polls and events.
    Ballot = "phone_ballot",
    /// By id; account 0 keeps them.
    Group = "chat_group",
    /// A phone's own sender keys, by group.
    OwnSenderKey = "phone_own_sender_key",
    /// By group and the address of a device that has the phone's key.
    KeyHolder = "phone_key_holder",
    /// By group and the address of the sending device.
    SenderKey = "phone_sender_key",
    /// Media messages a phone sent or received.
    Medium = "phone_medium",
}

impl Table {
    /// Whether each of its rows is written once and then deleted, never replaced: its number is not
    /// used again while the row is there. Most jobs are done before the next commit.
    pub(super) fn is_written_once(self) -> bool {
        matches!(self, Self::Job)
    }
}

pub(super) struct Statements {
    pub create: &'static str,
    pub read: &'static str,
    pub put: &'static str,
    pub put_eight: &'static str,
    pub delete: &'static str,
}
