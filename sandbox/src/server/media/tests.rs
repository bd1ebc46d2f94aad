//! Facts about tokens and direct paths.

use super::auth::{AuthError, Holder, Tokens};
use super::path::{Named, parameter, read, write};

const HOLDER: Holder = Holder {
    account: 7,
    device: 3,
};

#[test]
fn a_token_names_its_holder_until_it_expires() {
    let tokens = Tokens::generate();
    let token = tokens.issue(HOLDER, 100);
    assert_eq!(tokens.check(Some(&token), 99), Ok(HOLDER));
    assert_eq!(tokens.check(Some(&token), 100), Err(AuthError::Expired));
    tokens.expire();
    assert_eq!(tokens.check(Some(&token), 99), Err(AuthError::Expired));
    assert_eq!(tokens.check(Some(&tokens.issue(HOLDER, 100)), 99), Ok(HOLDER));
}

#[test]
fn a_token_of_another_sandbox_is_unknown() {
    let token = Tokens::generate().issue(HOLDER, 100);
    let tokens = Tokens::generate();
    for token in [Some(token.as_str()), Some("sandbox"), Some(""), Some("é"), None] {
        assert_eq!(tokens.check(token, 0), Err(AuthError::Unknown));
    }
}

#[test]
fn a_direct_path_is_read_back_whatever_a_client_appends() {
    let path = write("image", 12, 0xAB, 0x6A5B_4C3D);
    let named = Named {
        number: 12,
        nonce: 0xAB,
        expires_s: Some(0x6A5B_4C3D),
    };
    for appended in ["", "?auth=a&token=b", "&hash=x&mms-type=image&__wa-mms="] {
        assert_eq!(read(&format!("{path}{appended}")), Some(named));
    }
    let (bare, _) = path.split_once('?').unwrap();
    assert_eq!(read(bare).map(|named| named.expires_s), Some(None));
    for other in [
        "",
        "/",
        "/v/",
        "/v/t/1",
        "/v/t/1_2",
        "/v/t/x_1_n.enc",
        "/mms/image/1",
    ] {
        assert_eq!(read(other), None, "{other}");
    }
}

#[test]
fn a_second_question_mark_separates_parameters() {
    assert_eq!(
        parameter("oe=1?auth=a%2Db&token=c", "auth").as_deref(),
        Some("a-b")
    );
    assert_eq!(parameter("oe=1?auth=a", "token"), None);
}
