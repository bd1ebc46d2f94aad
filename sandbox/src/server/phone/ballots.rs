//! Polls and events a phone knows, and who answered what: bounded, and kept across restarts.

use std::collections::{BTreeMap, VecDeque};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::detail::{Detail, Response, Sealed};
use crate::server::account::Account;
use crate::server::persist::{PersistError, SavedAccount, Shelf, Table};
use crate::server::sync::now_s;
use crate::signal::addon::{Answer, AnswerKind};
use crate::signal::proto::{EventResponseMessage, EventResponseType, Message, PollVoteMessage, ProtoMessage};
use crate::wire::jid::Domain;

/// Polls and events a phone remembers.
const BALLOTS_MAX: usize = 1_000;
/// Answers it remembers for one of them.
const ANSWERS_MAX: usize = 2_048;

/// One poll or event as it is kept.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Ballot {
    whatsapp_id: Box<str>,
    /// The phone number of the other side, or the address of the group.
    chat: String,
    /// Who asked: both addresses, since an answer names one of them.
    author: Names,
    secret: serde_bytes::ByteBuf,
    is_event: bool,
    name: String,
    options: Vec<String>,
    selectable: u32,
    /// By the number of the account that answers.
    answers: BTreeMap<u32, Given>,
}

/// The addresses of a user.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Names {
    pn: String,
    lid: String,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Given {
    /// A phone number.
    by: String,
    options: Vec<String>,
    at_s: u64,
}

impl Names {
    fn of(account: &Account) -> Self {
        Self {
            pn: account.jid(0, Domain::Pn).to_string(),
            lid: account.jid(0, Domain::Lid).to_string(),
        }
    }

    fn both(&self) -> [&str; 2] {
        [&self.pn, &self.lid]
    }
}

/// A poll or event as the API shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct BallotView {
    pub whatsapp_id: String,
    pub kind: BallotKind,
    pub chat: String,
    /// The phone number of who asked.
    pub from: String,
    pub name: String,
    pub selectable: u32,
    pub options: Vec<Tally>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum BallotKind {
    Poll,
    Event,
}

/// Who chose an option.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    pub option: String,
    pub votes: usize,
    /// Phone numbers.
    pub voters: Vec<String>,
}

/// Why an answer cannot be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoAnswer {
    UnknownBallot,
    UnknownOption,
    TooManyOptions,
}

pub(super) struct Ballots {
    /// The oldest first; each is kept under its position.
    ballots: VecDeque<Ballot>,
    first: u64,
    shelf: Shelf,
}

impl Ballots {
    pub fn new(shelf: Shelf) -> Self {
        Self {
            ballots: VecDeque::new(),
            first: 1,
            shelf,
        }
    }

    pub fn shelve(&mut self, shelf: Shelf) {
        self.shelf = shelf;
    }

    pub fn restore(&mut self, saved: &mut SavedAccount) -> Result<(), PersistError> {
        for (position, ballot) in saved.values(Table::Ballot, 0)? {
            if self.ballots.is_empty() {
                self.first = position;
            }
            self.ballots.push_back(ballot);
        }
        Ok(())
    }

    /// Remembers a poll or an event that `author` sent.
    pub fn learn(&mut self, id: &str, chat: &str, author: &Account, message: &Message) {
        let inner = message.innermost();
        let secret = [message, inner].into_iter().find_map(|message| {
            let info = message.message_context_info.as_ref()?;
            info.message_secret.clone()
        });
        let (Some(secret), Some(detail)) = (secret, Detail::read(inner)) else {
            return;
        };
        let (is_event, name, options, selectable) = match detail {
            Detail::Poll {
                name,
                options,
                selectable,
            } => (false, name, options, selectable),
            Detail::Event { name, .. } => {
                let options = Response::ALL.map(|response| response.name().to_owned());
                (true, name, options.to_vec(), 1)
            }
            _ => return,
        };
        if self.find(id).is_some() {
            return;
        }
        if self.ballots.len() >= BALLOTS_MAX && self.ballots.pop_front().is_some() {
            self.shelf.keep(|rows| rows.delete(Table::Ballot, self.first, ""));
            self.first += 1;
        }
        self.ballots.push_back(Ballot {
            whatsapp_id: id.into(),
            chat: chat.to_owned(),
            author: Names::of(author),
            secret: secret.into(),
            is_event,
            name,
            options,
            selectable,
            answers: BTreeMap::new(),
        });
        self.keep(self.ballots.len() - 1);
    }

    fn keep(&self, at: usize) {
        self.shelf.keep(|rows| {
            if let Some(ballot) = self.ballots.get(at) {
                rows.put(Table::Ballot, self.first + at as u64, "", ballot);
            }
        });
    }

    fn find(&self, id: &str) -> Option<usize> {
        self.ballots.iter().rposition(|ballot| &*ballot.whatsapp_id == id)
    }

    /// Seals an answer of the phone itself, and counts it.
    pub fn answer(
        &mut self,
        account: &Account,
        domain: Domain,
        detail: &Detail,
    ) -> Result<Option<Sealed>, NoAnswer> {
        let (id, kind, chosen, plain) = match detail {
            Detail::Vote { poll_id, options, .. } => {
                let vote = PollVoteMessage {
                    selected_options: options.iter().map(|option| hash(option)).collect(),
                };
                (
                    poll_id,
                    AnswerKind::PollVote,
                    options.clone(),
                    vote.encode_to_vec(),
                )
            }
            Detail::EventResponse {
                event_id, response, ..
            } => {
                let answer = EventResponseMessage {
                    response: Some(EventResponseType::from(*response).into()),
                    timestamp_ms: i64::try_from(now_s() * 1_000).ok(),
                };
                let chosen = vec![response.name().to_owned()];
                (
                    event_id,
                    AnswerKind::EventResponse,
                    chosen,
                    answer.encode_to_vec(),
                )
            }
            _ => return Ok(None),
        };
        let is_event = kind == AnswerKind::EventResponse;
        let at = self.find(id).filter(|at| self.ballots[*at].is_event == is_event);
        let at = at.ok_or(NoAnswer::UnknownBallot)?;
        let ballot = &self.ballots[at];
        if chosen.iter().any(|option| !ballot.options.contains(option)) {
            return Err(NoAnswer::UnknownOption);
        }
        if ballot.selectable != 0 && chosen.len() > ballot.selectable as usize {
            return Err(NoAnswer::TooManyOptions);
        }
        let answerer = account.jid(0, domain).to_string();
        let author = match domain {
            Domain::Lid => &ballot.author.lid,
            _ => &ballot.author.pn,
        };
        let answer = Answer {
            kind,
            message_id: id,
            author,
            answerer: &answerer,
        };
        let (payload, iv) = answer.seal(&ballot.secret, &plain);
        self.count(at, account, chosen);
        Ok(Some(Sealed {
            payload,
            iv: iv.to_vec(),
        }))
    }

    /// Opens an answer of `answerer`, counts it, and writes what it says into `detail`.
    pub fn open(&mut self, answerer: &Account, message: &Message, detail: &mut Detail) {
        match detail {
            Detail::Vote {
                poll_id,
                options,
                readable,
            } => {
                let vote = message.poll_update_message.as_ref().and_then(|update| {
                    let vote = update.vote.as_ref()?;
                    Some((vote.enc_payload.as_deref()?, vote.enc_iv.as_deref()?))
                });
                let opened =
                    vote.and_then(|sealed| self.opened(poll_id, AnswerKind::PollVote, answerer, sealed));
                let Some((at, plain)) = opened else { return };
                let Ok(vote) = PollVoteMessage::decode(plain.as_slice()) else {
                    return;
                };
                let all = &self.ballots[at].options;
                let is_chosen = |option: &&String| vote.selected_options.contains(&hash(option));
                *options = all.iter().filter(is_chosen).cloned().collect();
                *readable = true;
                let chosen = options.clone();
                self.count(at, answerer, chosen);
            }
            Detail::EventResponse {
                event_id,
                response,
                readable,
            } => {
                let sealed = message
                    .enc_event_response_message
                    .as_ref()
                    .and_then(|answer| Some((answer.enc_payload.as_deref()?, answer.enc_iv.as_deref()?)));
                let opened = sealed
                    .and_then(|sealed| self.opened(event_id, AnswerKind::EventResponse, answerer, sealed));
                let Some((at, plain)) = opened else { return };
                let Ok(answer) = EventResponseMessage::decode(plain.as_slice()) else {
                    return;
                };
                *response = match EventResponseType::try_from(answer.response.unwrap_or_default()) {
                    Ok(EventResponseType::Going) => Response::Going,
                    Ok(EventResponseType::NotGoing) => Response::NotGoing,
                    Ok(EventResponseType::Maybe) => Response::Maybe,
                    _ => Response::Unknown,
                };
                *readable = true;
                let chosen = vec![response.name().to_owned()];
                self.count(at, answerer, chosen);
            }
            _ => {}
        }
    }

    /// Opens an answer; it names author and answerer by either of their addresses.
    fn opened(
        &self,
        id: &str,
        kind: AnswerKind,
        answerer: &Account,
        (payload, iv): (&[u8], &[u8]),
    ) -> Option<(usize, Vec<u8>)> {
        let at = self.find(id)?;
        let ballot = &self.ballots[at];
        let names = Names::of(answerer);
        for author in ballot.author.both() {
            for answerer in names.both() {
                let answer = Answer {
                    kind,
                    message_id: id,
                    author,
                    answerer,
                };
                if let Some(plain) = answer.open(&ballot.secret, payload, iv) {
                    return Some((at, plain));
                }
            }
        }
        None
    }

    /// The latest answer of an account is the one that counts.
    fn count(&mut self, at: usize, answerer: &Account, options: Vec<String>) {
        let answers = &mut self.ballots[at].answers;
        if options.is_empty() {
            answers.remove(&answerer.raw_id);
        } else if answers.len() < ANSWERS_MAX || answers.contains_key(&answerer.raw_id) {
            let given = Given {
                by: answerer.pn.to_string(),
                options,
                at_s: now_s(),
            };
            answers.insert(answerer.raw_id, given);
        }
        self.keep(at);
    }

    /// All polls and events, the oldest first.
    pub fn views(&self) -> Vec<BallotView> {
        self.ballots.iter().map(Ballot::view).collect()
    }

    pub fn tally(&self, id: &str) -> Option<Vec<Tally>> {
        self.find(id).map(|at| self.ballots[at].tally())
    }
}

impl Ballot {
    fn tally(&self) -> Vec<Tally> {
        let tally = |option: &String| {
            let chose = self
                .answers
                .values()
                .filter(|given| given.options.contains(option));
            let voters: Vec<_> = chose.map(|given| given.by.clone()).collect();
            Tally {
                option: option.clone(),
                votes: voters.len(),
                voters,
            }
        };
        self.options.iter().map(tally).collect()
    }

    fn view(&self) -> BallotView {
        let (from, _) = self.author.pn.split_once('@').unwrap_or_default();
        BallotView {
            whatsapp_id: self.whatsapp_id.to_string(),
            kind: if self.is_event {
                BallotKind::Event
            } else {
                BallotKind::Poll
            },
            chat: self.chat.clone(),
            from: from.to_owned(),
            name: self.name.clone(),
            selectable: self.selectable,
            options: self.tally(),
        }
    }
}

/// What a vote names an option by.
fn hash(option: &str) -> Vec<u8> {
    Sha256::digest(option).to_vec()
}
