//! Configuration: defaults, overrides, and everything that is refused.

use std::path::PathBuf;

use miroir_proxy::config::{Config, ConfigError, UnavailableShards};

const MINIMAL: &str = "coordinators = [\"http://127.0.0.1:7811\"]\ncluster_token = \"t0ken\"\n";

fn load(text: &str, env: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("proxy.toml");
    std::fs::write(&file, text).expect("written");
    let value = |name: &str| {
        env.iter()
            .find(|(known, _)| *known == name)
            .map(|(_, value)| (*value).to_owned())
    };
    Config::load(Some(&file), value)
}

#[test]
fn little_is_required() {
    let config = load(MINIMAL, &[]).expect("valid");
    assert_eq!(config.hold_ms, 10_000);
    assert_eq!(config.hold_bytes, 64 << 20);
    assert_eq!(config.payload_limit_bytes, 100 << 20);
    assert_eq!(config.master_key, None);
    let from_env = Config::load(None, |name| match name {
        "MIROIR_COORDINATORS" => Some("http://a:1, http://b:2".to_owned()),
        "MIROIR_CLUSTER_TOKEN" => Some("t0ken".to_owned()),
        _ => None,
    });
    assert_eq!(
        from_env.expect("valid").coordinators,
        ["http://a:1", "http://b:2"]
    );
}

#[test]
fn the_environment_wins() {
    let text = format!("{MINIMAL}master_key = \"from-file\"\nhold_ms = 5\n");
    let env = [
        ("MIROIR_MASTER_KEY", "from-env"),
        ("MIROIR_HOLD_MS", "7"),
        ("MIROIR_HTTP_ADDR", "127.0.0.1:0"),
        ("MIROIR_NAME", "p1"),
        ("MIROIR_LOG", ""),
        ("MIROIR_UNAVAILABLE_SHARDS", "partial"),
        ("MIROIR_HEDGE_PERCENT", "0"),
        ("MIROIR_HEDGE_MIN_MS", "7"),
    ];
    let config = load(&text, &env).expect("valid");
    assert_eq!(
        config.master_key.as_ref().map(|key| key.expose()),
        Some("from-env")
    );
    assert_eq!(
        (
            config.hold_ms,
            config.http_addr.port(),
            config.name.as_str()
        ),
        (7, 0, "p1")
    );
    assert_eq!(config.unavailable_shards, UnavailableShards::Partial);
    assert_eq!((config.hedge_percent, config.hedge_min_ms), (0, 7));
    assert_eq!(
        config.log,
        Config::default().log,
        "an empty variable counts as absent"
    );
}

#[test]
fn secrets_come_from_files_and_never_show() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("key");
    std::fs::write(&file, "a-master-key\n").expect("written");
    let text = format!("{MINIMAL}master_key_file = {file:?}\n");
    let config = load(&text, &[]).expect("valid");
    assert_eq!(
        config.master_key.as_ref().map(|key| key.expose()),
        Some("a-master-key")
    );
    let shown = format!("{config:?}");
    assert!(
        !shown.contains("a-master-key") && !shown.contains("t0ken"),
        "{shown}"
    );
}

/// A file, the environment, and what the error must name.
type Wrong = (
    String,
    &'static [(&'static str, &'static str)],
    &'static [&'static str],
);

#[test]
fn what_is_wrong_is_named() {
    let missing = PathBuf::from("/nonexistent/key");
    let table: [Wrong; 16] = [
        (
            format!("{MINIMAL}hedge_percent = 101\n"),
            &[],
            &["hedge_percent", "more than 100"],
        ),
        (
            format!("{MINIMAL}unavailable_shards = \"some\"\n"),
            &[],
            &["unavailable_shards", "line 3", "partial"],
        ),
        (
            MINIMAL.to_owned(),
            &[("MIROIR_UNAVAILABLE_SHARDS", "some")],
            &["MIROIR_UNAVAILABLE_SHARDS", "`some`", "partial"],
        ),
        (
            format!("{MINIMAL}hold_msec = 5\n"),
            &[],
            &["hold_msec", "line 3"],
        ),
        (format!("{MINIMAL}hold_ms = \"5\"\n"), &[], &["hold_ms"]),
        (
            format!("{MINIMAL}hold_ms = 0\n"),
            &[],
            &["hold_ms", "at least 1"],
        ),
        ("cluster_token = \"t\"\n".to_owned(), &[], &["coordinators"]),
        (
            "coordinators = [\"http://a:1\"]\n".to_owned(),
            &[],
            &["cluster_token"],
        ),
        (
            MINIMAL.to_owned(),
            &[("MIROIR_COORDINATORS", "a:1")],
            &["coordinators", "`a:1`"],
        ),
        (
            MINIMAL.to_owned(),
            &[("MIROIR_COORDINATORS", "https://a:1")],
            &["https://a:1"],
        ),
        (
            MINIMAL.to_owned(),
            &[("MIROIR_HOLD_MS", "soon")],
            &["MIROIR_HOLD_MS", "`soon`"],
        ),
        (
            MINIMAL.to_owned(),
            &[("MIROIR_HTTP_ADDR", "0.0.0.0:7700")],
            &["advertise_url"],
        ),
        (
            MINIMAL.to_owned(),
            &[("MIROIR_ADVERTISE_URL", "http://a:1/")],
            &["advertise_url"],
        ),
        (MINIMAL.to_owned(), &[("MIROIR_LOG", "a=b=c")], &["log"]),
        (
            format!("{MINIMAL}master_key = \"k\"\nmaster_key_file = {missing:?}\n"),
            &[],
            &["master_key", "both"],
        ),
        (
            format!("{MINIMAL}master_key_file = {missing:?}\n"),
            &[],
            &["/nonexistent/key"],
        ),
    ];
    for (text, env, names) in table {
        let error = load(&text, env).expect_err(&text);
        let shown = error.to_string();
        for name in names {
            assert!(shown.contains(name), "{shown} does not name {name}");
        }
        assert!(!error.retryable());
    }
}

#[test]
fn the_examples_are_valid() {
    let examples = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../cluster-config");
    let mut checked = 0;
    for entry in std::fs::read_dir(examples).expect("the directory of examples") {
        let path = entry.expect("an entry").path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default();
        if !name.starts_with("proxy-") {
            continue;
        }
        let env = |name: &str| match name {
            "MIROIR_CLUSTER_TOKEN" => Some("token-of-the-example".to_owned()),
            "MIROIR_MASTER_KEY" => Some("key-of-the-example".to_owned()),
            _ => None,
        };
        Config::load(Some(&path), env).unwrap_or_else(|error| panic!("{error}"));
        checked += 1;
    }
    assert!(checked >= 2, "two proxies are configured");
}
