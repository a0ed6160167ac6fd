//! Rewrites a node's error text into what one node without the hidden field would have said.

use std::borrow::Cow;

use super::NAME;

const NONE_CONFIGURED: &str = "This index does not have configured filterable attributes.";

/// The text without the hidden field in its list of filterable attributes and in documents
/// it quotes, and with the rules of `filterableAttributes` numbered as the client wrote
/// them, which is one less than on the node.
#[must_use]
pub fn scrub_message(message: &str) -> Cow<'_, str> {
    if !message.contains(NAME) && !message.contains("rule #") {
        return Cow::Borrowed(message);
    }
    let text = scrub_lists(&scrub_quoted_documents(message));
    if text.contains("filterableAttributes") {
        Cow::Owned(renumber_rules(&text))
    } else {
        Cow::Owned(text)
    }
}

/// Both shapes of the list: one pair of backticks per name, or one around all names.
fn scrub_lists(message: &str) -> String {
    let mut text = message.to_owned();
    for noun in ["attribute", "attributes"] {
        let alone = format!("Available filterable {noun} patterns are: `{NAME}`.");
        text = text.replace(&alone, NONE_CONFIGURED);
    }
    let replacements = [
        (format!("`{NAME}`, "), ""),
        (format!(", `{NAME}`"), ""),
        (format!("`{NAME}, "), "`"),
        (format!(", {NAME}`"), "`"),
        (format!(", {NAME}, "), ", "),
    ];
    for (from, to) in replacements {
        text = text.replace(&from, to);
    }
    text
}

fn scrub_quoted_documents(message: &str) -> String {
    let member = format!("\"{NAME}\":\"");
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(&member) {
        let value = &rest[at + member.len()..];
        let Some(end) = value.find('"') else { break };
        let after = &value[end + 1..];
        let before = &rest[..at];
        match after.strip_prefix(',') {
            Some(after) => {
                out.push_str(before);
                rest = after;
            }
            None => {
                out.push_str(before.strip_suffix(',').unwrap_or(before));
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

fn renumber_rules(message: &str) -> String {
    const MARK: &str = "rule #";
    let mut out = String::with_capacity(message.len());
    let mut rest = message;
    while let Some(at) = rest.find(MARK) {
        let (before, after) = rest.split_at(at + MARK.len());
        let digits = after.bytes().take_while(u8::is_ascii_digit).count();
        out.push_str(before);
        match after[..digits].parse::<u64>() {
            Ok(number) => out.push_str(&number.saturating_sub(1).to_string()),
            Err(_) => out.push_str(&after[..digits]),
        }
        rest = &after[digits..];
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_as_one_nodes() {
        let table = [
            ("Index `a` not found.", "Index `a` not found."),
            (
                "Attribute `x` is not filterable. Available filterable attribute patterns are: `_miroir_shard`.\n1:2 x = 1",
                "Attribute `x` is not filterable. This index does not have configured filterable attributes.\n1:2 x = 1",
            ),
            (
                "Attribute `x` is not filterable. Available filterable attribute patterns are: `_miroir_shard`, `genre`.",
                "Attribute `x` is not filterable. Available filterable attribute patterns are: `genre`.",
            ),
            (
                "Available filterable attribute patterns are: `Genre`, `_miroir_shard`, `title`.",
                "Available filterable attribute patterns are: `Genre`, `title`.",
            ),
            (
                "Available filterable attribute patterns are: `Genre`, `_miroir_shard`.",
                "Available filterable attribute patterns are: `Genre`.",
            ),
            (
                "Invalid facet distribution: Attribute `x` is not filterable. Available filterable attributes patterns are: `_miroir_shard`.",
                "Invalid facet distribution: Attribute `x` is not filterable. This index does not have configured filterable attributes.",
            ),
            (
                "Available filterable attributes patterns are: `_miroir_shard, genre`.",
                "Available filterable attributes patterns are: `genre`.",
            ),
            (
                "Available filterable attributes patterns are: `A, _miroir_shard, genre`.",
                "Available filterable attributes patterns are: `A, genre`.",
            ),
            (
                "Available filterable attributes patterns are: `A, _miroir_shard`.",
                "Available filterable attributes patterns are: `A`.",
            ),
            (
                "Attribute `x` matched rule #2 in filterableAttributes, but this rule does not enable filtering.\nHint: enable filtering in rule #2 by",
                "Attribute `x` matched rule #1 in filterableAttributes, but this rule does not enable filtering.\nHint: enable filtering in rule #1 by",
            ),
            ("rule #3 of something else", "rule #3 of something else"),
            (
                r#"Document doesn't have a `id` attribute: `{"_miroir_shard":"†††","a":1}`."#,
                r#"Document doesn't have a `id` attribute: `{"a":1}`."#,
            ),
            (r#"`{"a":1,"_miroir_shard":"†††"}`"#, r#"`{"a":1}`"#),
            (r#"`{"_miroir_shard":"†††"}`"#, "`{}`"),
        ];
        for (node, expected) in table {
            assert_eq!(scrub_message(node), expected);
        }
    }
}
