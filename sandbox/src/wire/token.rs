//! The token dictionary (version 3): frequent strings that travel as one or two bytes.

use std::collections::HashMap;
use std::sync::LazyLock;

/// The dictionary version spoken here, the fourth byte of the connection header.
pub const DICTIONARY_VERSION: u8 = 3;

/// How a token is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Token {
    /// One byte, 1 to 235.
    Single(u8),
    /// The dictionary (0 to 3) and the index in it.
    Double(u8, u8),
}

struct Table {
    single: Vec<&'static str>,
    double: [Vec<&'static str>; 4],
    index: HashMap<&'static str, Token>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| read_table(include_str!("tokens-v3.txt")));

fn read_table(source: &'static str) -> Table {
    let mut table = Table {
        single: vec![""],
        double: Default::default(),
        index: HashMap::new(),
    };
    let mut dictionary = None;
    for line in source.lines().filter(|line| !line.starts_with('#')) {
        if let Some(section) = line.strip_prefix("= ") {
            dictionary = section
                .strip_prefix("double ")
                .and_then(|number| number.parse::<usize>().ok());
            continue;
        }
        let token = match dictionary {
            None => {
                table.single.push(line);
                Token::Single((table.single.len() - 1) as u8)
            }
            Some(number) => {
                table.double[number].push(line);
                Token::Double(number as u8, (table.double[number].len() - 1) as u8)
            }
        };
        table.index.insert(line, token);
    }
    table
}

/// The token for `text`, if the dictionary has one.
pub fn find(text: &str) -> Option<Token> {
    TABLE.index.get(text).copied()
}

/// The text of a single-byte token; `None` for 0 and for bytes past the dictionary.
pub fn single(index: u8) -> Option<&'static str> {
    TABLE
        .single
        .get(usize::from(index))
        .copied()
        .filter(|text| !text.is_empty())
}

/// The text of a two-byte token.
pub fn double(dictionary: u8, index: u8) -> Option<&'static str> {
    TABLE
        .double
        .get(usize::from(dictionary))?
        .get(usize::from(index))
        .copied()
}
