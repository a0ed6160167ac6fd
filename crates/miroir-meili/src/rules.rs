//! Dynamic search rules of a node.

use std::collections::BTreeMap;

use reqwest::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::client::NodeClient;
use crate::error::MeiliError;
use crate::tasks::EnqueuedTask;

/// More than a node has: all of them are asked for at once.
const RULES_MAX: usize = 100_000;

#[derive(Deserialize)]
struct RulePage {
    results: Vec<Value>,
}

impl NodeClient {
    /// Every rule of the node, by uid.
    pub async fn rules(&self) -> Result<BTreeMap<String, Value>, MeiliError> {
        let url = self.url(&["dynamic-search-rules"])?;
        let all = json!({ "limit": RULES_MAX });
        let page: RulePage = self.send_json(Method::POST, url, &all).await?.parse()?;
        let uid = |rule: &Value| rule.get("uid")?.as_str().map(str::to_owned);
        let rules = page.results.into_iter();
        Ok(rules.filter_map(|rule| Some((uid(&rule)?, rule))).collect())
    }

    /// Enqueues a change of a rule, which is made if there is none. `members` is the body of
    /// `PATCH /dynamic-search-rules/{uid}`.
    pub async fn patch_rule(
        &self,
        uid: &str,
        members: &Map<String, Value>,
    ) -> Result<EnqueuedTask, MeiliError> {
        let url = self.url(&["dynamic-search-rules", uid])?;
        let members = Value::Object(members.clone());
        self.send_json(Method::PATCH, url, &members).await?.parse()
    }

    /// Enqueues the deletion of a rule.
    pub async fn delete_rule(&self, uid: &str) -> Result<EnqueuedTask, MeiliError> {
        self.delete(&["dynamic-search-rules", uid], &[])
            .await?
            .parse()
    }
}
