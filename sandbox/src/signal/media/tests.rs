use proptest::prelude::*;

use super::*;

const KINDS: [MediaKind; 6] = [
    MediaKind::Image,
    MediaKind::Video,
    MediaKind::Audio,
    MediaKind::Document,
    MediaKind::History,
    MediaKind::AppState,
];

#[test]
fn each_kind_has_keys_of_its_own() {
    for kind in KINDS {
        let sealed = seal(kind, b"content");
        for other in KINDS {
            let opened = open(other, &sealed.media_key, &sealed.blob);
            let expected = if other == kind {
                Ok(b"content".to_vec())
            } else {
                Err(MediaError::BadMac)
            };
            assert_eq!(opened, expected);
        }
    }
}

#[test]
fn hashes_are_those_of_content_and_blob() {
    let sealed = seal(MediaKind::History, b"content");
    assert_eq!(sealed.file_sha256, sha256(b"content"));
    assert_eq!(sealed.file_enc_sha256, sha256(&sealed.blob));
    assert_eq!(sealed.file_bytes, 7);
    assert_eq!(sealed.blob.len(), 16 + MAC_BYTES);
}

#[test]
fn short_blobs_are_refused() {
    assert_eq!(
        open(MediaKind::Image, &[1; 32], &[0; 9]),
        Err(MediaError::TooShort)
    );
    assert_eq!(
        open(MediaKind::Image, &[1; 32], &[0; 10]),
        Err(MediaError::BadMac)
    );
}

proptest! {
    #[test]
    fn changed_blobs_do_not_open(content: Vec<u8>, at: prop::sample::Index, bit in 0u8..8) {
        let mut sealed = seal(MediaKind::Image, &content);
        prop_assert_eq!(open(MediaKind::Image, &sealed.media_key, &sealed.blob).unwrap(), content);
        let at = at.index(sealed.blob.len());
        sealed.blob[at] ^= 1 << bit;
        prop_assert_eq!(
            open(MediaKind::Image, &sealed.media_key, &sealed.blob),
            Err(MediaError::BadMac)
        );
    }
}
