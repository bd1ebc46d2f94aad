//! What phones send and what they received.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::account::{Page, list_limit};
use super::body::{Body, Params};
use super::media::{self, NewMedia};
use super::problem::{Problem, ProblemCode};
use super::{Shared, chat_jid, group, phone_number};
use crate::server::account::Account;
use crate::server::group::Group;
use crate::server::media::StoreError;
use crate::server::phone::media::{FetchError, fetch};
use crate::server::phone::{
    self, BallotView, Content, Detail, Frame, Notice, Recorded, SendError, Unfit, UploadedMedium,
};
use crate::server::service::Service;
use crate::wire::jid::Domain;

const TEXT_BYTES_MAX: usize = 65_536;
const ID_BYTES_MAX: usize = 128;
const LIST_MAX: usize = 10_000;
const MENTIONS_MAX: usize = 256;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::server) struct NewMessage {
    to: String,
    text: Option<String>,
    /// The id of a message of the other side that the text answers.
    reply_to: Option<String>,
    edit_of: Option<String>,
    revoke_of: Option<String>,
    react_to: Option<String>,
    emoji: Option<String>,
    media: Option<NewMedia>,
    /// One of the other kinds.
    content: Option<Detail>,
    /// Phone numbers or JIDs.
    #[serde(default)]
    mentions: Vec<String>,
    /// How often the message was forwarded before.
    forward_score: Option<u32>,
    #[serde(default)]
    view_once: bool,
    /// The message disappears after this many seconds.
    #[serde(default)]
    timer_s: u32,
    #[serde(default)]
    addressing: Addressing,
}

/// Which of the receiver's addresses the stanza carries.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Addressing {
    #[default]
    Pn,
    Lid,
}

#[derive(Serialize)]
pub(super) struct SentMessage {
    whatsapp_id: String,
}

impl NewMessage {
    /// Puts content into the frame the body asks for.
    fn framed(&self, content: Content) -> Result<Content, Problem> {
        if self.mentions.len() > MENTIONS_MAX {
            let detail = format!("a message mentions at most {MENTIONS_MAX} users");
            return Err(Problem::new(ProblemCode::InvalidField, detail).at("/mentions"));
        }
        let mentions = self.mentions.iter().map(|user| chat_jid(user, "/mentions"));
        let frame = Frame {
            mentions: mentions.collect::<Result<_, _>>()?,
            forwarded: self.forward_score.is_some(),
            forward_score: self.forward_score.unwrap_or_default(),
            view_once: self.view_once,
            timer_s: self.timer_s,
        };
        if frame == Frame::default() {
            return Ok(content);
        }
        Ok(Content::Framed(Box::new(content), frame))
    }

    /// Whether the body has none of the fields of a text and what is done to one.
    fn is_plain(&self) -> bool {
        let fields = [
            &self.text,
            &self.reply_to,
            &self.edit_of,
            &self.revoke_of,
            &self.react_to,
            &self.emoji,
        ];
        fields.iter().all(|field| field.is_none())
    }

    fn content(&self) -> Result<Content, Problem> {
        let Some(detail) = &self.content else {
            return self.text_content();
        };
        if !self.is_plain() {
            let detail = "content stands alone: send no text, edit, revocation or reaction with it";
            return Err(Problem::new(ProblemCode::InvalidField, detail).at("/content"));
        }
        let fits = detail.check();
        fits.map_err(|Unfit { pointer, detail }| {
            Problem::new(ProblemCode::InvalidField, detail).at(pointer)
        })?;
        Ok(Content::Detail(Box::new(detail.clone())))
    }

    /// A text, or what is done to one.
    fn text_content(&self) -> Result<Content, Problem> {
        let invalid = |pointer: &'static str, detail: &'static str| {
            Err(Problem::new(ProblemCode::InvalidField, detail).at(pointer))
        };
        for (pointer, id) in [
            ("/reply_to", &self.reply_to),
            ("/edit_of", &self.edit_of),
            ("/revoke_of", &self.revoke_of),
            ("/react_to", &self.react_to),
        ] {
            if id
                .as_ref()
                .is_some_and(|id| id.is_empty() || id.len() > ID_BYTES_MAX)
            {
                return invalid(pointer, "a message id has 1 to 128 bytes");
            }
        }
        let text = self.text.clone();
        if text
            .as_ref()
            .is_some_and(|text| text.is_empty() || text.len() > TEXT_BYTES_MAX)
        {
            return invalid("/text", "a text has 1 to 65536 bytes");
        }
        if self.emoji.as_ref().is_some_and(|emoji| emoji.len() > 64) {
            return invalid("/emoji", "an emoji has at most 64 bytes");
        }
        match (&self.edit_of, &self.revoke_of, &self.react_to, text, &self.emoji) {
            (None, None, None, Some(text), None) => Ok(Content::Text {
                text,
                quote: self.reply_to.clone(),
            }),
            (Some(target), None, None, Some(text), None) => Ok(Content::Edit {
                target: target.clone(),
                text,
            }),
            (None, Some(target), None, None, None) => Ok(Content::Revoke {
                target: target.clone(),
            }),
            (None, None, Some(target), None, Some(emoji)) => Ok(Content::Reaction {
                target: target.clone(),
                emoji: emoji.clone(),
            }),
            _ => invalid(
                "",
                "send text, or edit_of with text, or revoke_of alone, or react_to with emoji",
            ),
        }
    }
}

/// Has the phone encrypt and upload what it is to send.
async fn upload(
    service: &Arc<Service>,
    account: &Arc<Account>,
    new: &NewMessage,
    media: NewMedia,
) -> Result<Content, Problem> {
    if !new.is_plain() || new.content.is_some() {
        let detail = "send media alone; its text is the caption";
        return Err(Problem::new(ProblemCode::InvalidField, detail).at("/media"));
    }
    let media = media.check(service.config.media_blob_bytes_max)?;
    let account = account.clone();
    let uploaded = media::in_background(service, move |service| {
        UploadedMedium::upload(service, &account, media.make()?)
    });
    let uploaded = uploaded.await?.map_err(|error| match error {
        StoreError::Full => Problem::new(ProblemCode::MediaStoreFull, error.to_string()),
        error => Problem::new(ProblemCode::Internal, error.to_string()),
    })?;
    Ok(Content::Media(Box::new(uploaded)))
}

/// The decrypted file of a message the phone received or sent.
pub(super) async fn media(
    State(service): Shared,
    Path((phone, id)): Path<(String, String)>,
) -> Result<Response, Problem> {
    let account = super::account(&service, &phone)?;
    let fetched = media::in_background(&service, move |service| fetch(service, &account, &id)).await?;
    let (bytes, kind) = fetched.map_err(|error| {
        let code = match &error {
            FetchError::NoSuchMessage => ProblemCode::MessageNotFound,
            FetchError::NoFile => ProblemCode::MediaNotFound,
            FetchError::Io(_) => ProblemCode::Internal,
            _ => ProblemCode::MediaUnusable,
        };
        Problem::new(code, error.to_string())
    })?;
    Ok(media::file(bytes, kind.as_deref()))
}

pub(super) async fn send(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(new): Body<NewMessage>,
) -> Result<(StatusCode, Json<SentMessage>), Problem> {
    let account = super::account(&service, &phone)?;
    let whatsapp_id = deliver(&service, &account, new).await?;
    Ok((StatusCode::CREATED, Json(SentMessage { whatsapp_id })))
}

/// Has a phone send a message; scenarios and rules come here too.
pub(in crate::server) async fn deliver(
    service: &Arc<Service>,
    account: &Arc<Account>,
    mut new: NewMessage,
) -> Result<String, Problem> {
    let to = Receiver::of(service, &new)?;
    let content = match new.media.take() {
        Some(media) => upload(service, account, &new, media).await?,
        None => new.content()?,
    };
    let content = new.framed(content)?;
    let _unit = service.journal.unit();
    let sent = match to {
        Receiver::Account(peer, domain) => phone::send(service, account, &peer, domain, &content),
        Receiver::Group(group) => phone::send_to_group(service, account, &group, &content),
    };
    sent.map_err(not_sent)
}

/// Whom a message is for.
enum Receiver {
    Account(Arc<Account>, Domain),
    Group(Arc<Group>),
}

impl Receiver {
    fn of(service: &Service, new: &NewMessage) -> Result<Self, Problem> {
        if new.to.ends_with("@g.us") {
            let group = group::find(service, &new.to).map_err(|problem| problem.at("/to"))?;
            return Ok(Self::Group(group));
        }
        let to = phone_number(&new.to, "/to")?;
        let peer = service.account_by_pn(to).ok_or_else(|| {
            Problem::new(ProblemCode::AccountNotFound, "the receiver has no account").at("/to")
        })?;
        let domain = match new.addressing {
            Addressing::Pn => Domain::Pn,
            Addressing::Lid => Domain::Lid,
        };
        Ok(Self::Account(peer, domain))
    }
}

fn not_sent(error: SendError) -> Problem {
    let (code, pointer) = match error {
        SendError::NotMember | SendError::OnlyAdmins => (ProblemCode::GroupForbidden, "/to"),
        SendError::UnknownPoll => (ProblemCode::MessageNotFound, "/content"),
        SendError::UnknownOption | SendError::TooManyOptions => {
            (ProblemCode::InvalidField, "/content/options")
        }
        SendError::QueueFull => (ProblemCode::QueueFull, ""),
        SendError::NoKeys | SendError::Refused => (ProblemCode::NotSent, ""),
    };
    Problem::new(code, error.to_string()).at(pointer)
}

#[derive(Serialize)]
pub(super) struct Ballots {
    data: Vec<BallotView>,
}

/// The polls and events a phone knows, with their answers.
pub(super) async fn polls(
    State(service): Shared,
    Path(phone): Path<String>,
) -> Result<Json<Ballots>, Problem> {
    let account = super::account(&service, &phone)?;
    Ok(Json(Ballots {
        data: account.phone.ballots(),
    }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    /// The `number` of the last message of the page before.
    after: Option<u64>,
    limit: Option<usize>,
}

pub(super) async fn list(
    State(service): Shared,
    Path(phone): Path<String>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<Recorded>>, Problem> {
    let account = super::account(&service, &phone)?;
    let limit = list_limit(params.limit, LIST_MAX)?;
    let mut data = account.phone.messages(params.after.unwrap_or(0), limit + 1);
    let more = data.len() > limit;
    data.truncate(limit);
    let next_cursor = data
        .last()
        .filter(|_| more)
        .map(|message| message.number.to_string());
    Ok(Json(Page { data, next_cursor }))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ReadBody {
    whatsapp_id: String,
    /// It was a voice message or video, and was played.
    #[serde(default)]
    played: bool,
}

/// Sends a read or played receipt for a message the phone received.
pub(super) async fn read(
    State(service): Shared,
    Path(phone): Path<String>,
    Body(body): Body<ReadBody>,
) -> Result<StatusCode, Problem> {
    let account = super::account(&service, &phone)?;
    let _unit = service.journal.unit();
    let notice = if body.played { Notice::Played } else { Notice::Read };
    if phone::mark(&service, &account, &body.whatsapp_id, notice) {
        Ok(StatusCode::NO_CONTENT)
    } else {
        let detail = "the phone received no message with this id";
        Err(Problem::new(ProblemCode::MessageNotFound, detail).at("/whatsapp_id"))
    }
}
