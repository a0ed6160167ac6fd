//! `docs/api.md` lists every route, and nothing else.

use std::collections::BTreeSet;

use miroir_proxy::http::routes;

/// Method, path, mode and access as a row shows them.
type Row = (String, String, String, String);

fn rows(text: &str) -> Vec<Row> {
    let cells = |line: &str| -> Vec<String> {
        line.trim_matches('|')
            .split('|')
            .map(|cell| cell.trim().replace('`', ""))
            .collect()
    };
    text.lines()
        .filter(|line| line.starts_with("| `"))
        .map(cells)
        .map(|cells| match cells.as_slice() {
            [method, path, mode, access, ..] => {
                (method.clone(), path.clone(), mode.clone(), access.clone())
            }
            other => panic!("a row of the table is too short: {other:?}"),
        })
        .collect()
}

#[test]
fn the_documentation_lists_every_route() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/api.md");
    let text = std::fs::read_to_string(path).expect("docs/api.md");
    let documented = rows(&text);
    let expected: Vec<Row> = routes::all()
        .map(|route| {
            let words = [
                route.method,
                route.path,
                route.mode.name(),
                route.access.name(),
            ];
            words.map(str::to_owned).into()
        })
        .collect();
    let distinct: BTreeSet<&Row> = documented.iter().collect();
    assert_eq!(distinct.len(), documented.len(), "a route is listed twice");
    let known: BTreeSet<&Row> = expected.iter().collect();
    let missing: Vec<_> = known.difference(&distinct).collect();
    let unknown: Vec<_> = distinct.difference(&known).collect();
    assert!(
        missing.is_empty() && unknown.is_empty(),
        "missing: {missing:#?}\nunknown: {unknown:#?}"
    );
}
