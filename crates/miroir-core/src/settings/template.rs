//! Embedder document templates that pass over the hidden field.
//!
//! A template that loops over all fields of a document would put the hidden one into the
//! text that is embedded. Nodes therefore get every such loop with a first step that skips
//! it. The step prints nothing, so that the text is the one that a node without the hidden
//! field would embed, and it can be taken out again exactly.

use std::borrow::Cow;

use crate::hidden_field::NAME;

/// What Meilisearch uses for an embedder without a template.
const DEFAULT: &str = "{% for field in fields %}{% if field.is_searchable and field.value != nil %}{{ field.name }}: {{ field.value }}\n{% endif %}{% endfor %}";

/// The template that nodes get for the client's; `None` is the default one.
pub(super) fn to_node(template: Option<&str>) -> String {
    let template = template.unwrap_or(DEFAULT);
    let mut out = String::with_capacity(template.len() + 80);
    let mut rest = template;
    while let Some(start) = rest.find("{%") {
        let Some(length) = rest[start..].find("%}") else {
            break;
        };
        let (before, after) = rest.split_at(start + length + 2);
        out.push_str(before);
        if let Some(variable) = loop_variable(&before[start..]) {
            out.push_str(&skip_step(variable, before.ends_with("-%}")));
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

/// The client's template for a node's: without the steps that pass over the hidden field.
#[must_use]
pub fn from_node(template: &str) -> Cow<'_, str> {
    if !template.contains(NAME) {
        return Cow::Borrowed(template);
    }
    let mut out = template.to_owned();
    while let Some((start, end)) = find_step(&out) {
        out.replace_range(start..end, "");
    }
    Cow::Owned(out)
}

/// The variable of a tag that starts a loop over `fields`.
fn loop_variable(tag: &str) -> Option<&str> {
    let inner = tag.strip_prefix("{%")?.strip_suffix("%}")?;
    let inner = inner.strip_prefix('-').unwrap_or(inner);
    let mut words = inner.strip_suffix('-').unwrap_or(inner).split_whitespace();
    match (words.next(), words.next(), words.next(), words.next()) {
        (Some("for"), Some(variable), Some("in"), Some("fields")) => Some(variable),
        _ => None,
    }
}

/// A loop tag that trims the space after it needs a step that trims it too.
fn skip_step(variable: &str, trims: bool) -> String {
    let (open, close) = if trims { ("{%-", "-%}") } else { ("{%", "%}") };
    format!(
        "{open} if {variable}.name == '{NAME}' {close}{open} continue {close}{open} endif {close}"
    )
}

/// Where a step stands in a node's template.
fn find_step(template: &str) -> Option<(usize, usize)> {
    let name = template.find(NAME)?;
    let start = template[..name].rfind("{%")?;
    let variable = template[start..name]
        .split_whitespace()
        .nth(2)?
        .strip_suffix(".name")?;
    let step = skip_step(variable, template[start..].starts_with("{%-"));
    template[start..]
        .starts_with(&step)
        .then_some((start, start + step.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loops_over_fields_skip_the_hidden_one() {
        let table = [
            (
                None,
                "{% for field in fields %}{% if field.name == '_miroir_shard' %}{% continue %}{% endif %}{% if field.is_searchable and field.value != nil %}{{ field.name }}: {{ field.value }}\n{% endif %}{% endfor %}",
            ),
            (
                Some("{%- for f in fields -%} {{f.value}} {%- endfor -%}"),
                "{%- for f in fields -%}{%- if f.name == '_miroir_shard' -%}{%- continue -%}{%- endif -%} {{f.value}} {%- endfor -%}",
            ),
            (Some("{{ doc.title }}"), "{{ doc.title }}"),
            (
                Some("{% for t in doc.tags %}{{t}}{% endfor %}"),
                "{% for t in doc.tags %}{{t}}{% endfor %}",
            ),
            (Some("broken {% for"), "broken {% for"),
        ];
        for (template, expected) in table {
            let node = to_node(template);
            assert_eq!(node, expected);
            assert_eq!(from_node(&node), template.unwrap_or(DEFAULT));
        }
    }

    #[test]
    fn several_loops_come_back_exactly() {
        let template =
            "{% for a in fields %}x{% endfor %} {%- for b in fields limit:3 -%} y {% endfor %}";
        let node = to_node(Some(template));
        assert_eq!(node.matches(NAME).count(), 2);
        assert_eq!(from_node(&node), template);
    }

    #[test]
    fn other_texts_with_the_name_stay() {
        for template in [
            "_miroir_shard",
            "{% if x.name == '_miroir_shard' %}",
            "{% _miroir_shard",
        ] {
            assert_eq!(from_node(template), template);
        }
    }
}
