//! Facts about sealed answers.

use super::*;

const SECRET: [u8; 32] = [3; 32];

fn answer() -> Answer<'static> {
    Answer {
        kind: AnswerKind::PollVote,
        message_id: "3EB0",
        author: "1@s.whatsapp.net",
        answerer: "2@s.whatsapp.net",
    }
}

#[test]
fn an_answer_opens_for_the_message_it_was_sealed_for() {
    let (sealed, iv) = answer().seal(&SECRET, b"vote");
    assert_eq!(
        answer().open(&SECRET, &sealed, &iv).as_deref(),
        Some(&b"vote"[..])
    );
}

#[test]
fn an_answer_opens_for_nothing_else() {
    let (sealed, iv) = answer().seal(&SECRET, b"vote");
    let others = [
        Answer {
            kind: AnswerKind::EventResponse,
            ..answer()
        },
        Answer {
            message_id: "3EB1",
            ..answer()
        },
        Answer {
            author: "1@lid",
            ..answer()
        },
        Answer {
            answerer: "3@s.whatsapp.net",
            ..answer()
        },
    ];
    assert!(
        others
            .iter()
            .all(|other| other.open(&SECRET, &sealed, &iv).is_none())
    );
    assert_eq!(answer().open(&[4; 32], &sealed, &iv), None);
    assert_eq!(answer().open(&SECRET, &sealed[1..], &iv), None);
    assert_eq!(answer().open(&SECRET, &sealed, &iv[1..]), None);
}
