//! Groups, made by Baileys and by phones, under both addressings.

mod change;
mod member;
mod message;

use serde_json::{Value, json};

use crate::ground::{CAROL, Ground};
use crate::world::{ALICE, BOB};

/// A group of Bob, whose phone makes it, Carol and Alice.
async fn phone_makes_group(ground: &Ground, addressing: &str) -> String {
    let group = json!({
        "creator": BOB, "subject": "Band", "participants": [CAROL, ALICE], "addressing": addressing,
    });
    let group = ground.act("groups", group).await;
    group["group_id"].as_str().unwrap().to_owned()
}

async fn phone_heard(ground: &Ground, phone: &str, group: &str, author: &str, text: &str) {
    let record = ground
        .phone_record(phone, text, |record| record["text"] == text)
        .await;
    assert_eq!(
        (&record["chat"], &record["from"]),
        (&json!(group), &json!(author))
    );
}

/// The role of a member; null of one who is none.
async fn role_of(ground: &Ground, group: &str, phone: &str) -> Value {
    let seen = ground.look(&format!("groups/{group}")).await;
    let members = seen["participants"].as_array().unwrap();
    let mut members = members.iter();
    let member = members.find(|member| member["phone_number"] == phone);
    member.map_or(Value::Null, |member| member["role"].clone())
}
