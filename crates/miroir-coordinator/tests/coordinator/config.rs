//! What a configuration file and the environment give.

use miroir_coordinator::config::{Config, ConfigError};

const GOOD: &str = r#"
id = 2
cluster_token = "s3cret-token"
node_master_key = "s3cret-key"
peers = [
  { id = 1, api_url = "http://a:7710", raft_url = "http://a:7720" },
  { id = 2, api_url = "http://b:7710", raft_url = "http://b:7720" },
]
[raft]
heartbeat_ms = 100
"#;

fn parse(text: &str, vars: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let vars = vars
        .iter()
        .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
    Config::parse("c.toml", text, vars)
}

#[test]
fn fields_have_defaults_and_the_environment_comes_last() {
    let config = parse(GOOD, &[]).expect("valid");
    assert_eq!(
        (config.id, config.lease_ms, config.raft.heartbeat_ms),
        (2, 3_000, 100)
    );
    assert_eq!(config.me().api_url, "http://b:7710");
    assert_eq!(config.token().expose(), "s3cret-token");
    let vars = [
        ("MIROIR_COORDINATOR__ID", "1"),
        ("MIROIR_COORDINATOR__LEASE_MS", "4000"),
        ("MIROIR_COORDINATOR__RAFT__HEARTBEAT_MS", "200"),
        ("MIROIR_COORDINATOR__DATA_DIR", "/var/lib/miroir"),
        ("MIROIR_COORDINATOR__API_ADDR", "127.0.0.1:1"),
        ("MIROIR_CLUSTER_TOKEN", "other-token"),
        ("MIROIR_NODE_MASTER_KEY", "0123"),
        ("PATH", "/bin"),
    ];
    let config = parse(GOOD, &vars).expect("valid");
    assert_eq!(
        (config.id, config.lease_ms, config.raft.heartbeat_ms),
        (1, 4_000, 200)
    );
    assert_eq!(config.data_dir.to_str(), Some("/var/lib/miroir"));
    assert_eq!(config.api_addr.port(), 1);
    assert_eq!(config.token().expose(), "other-token");
    assert_eq!(
        config
            .node_master_key
            .map(|key| key.expose().to_owned())
            .as_deref(),
        Some("0123")
    );
}

#[test]
fn peers_may_come_from_the_environment() {
    let text = "cluster_token = \"t\"\nnode_master_key = \"k\"";
    let peers = r#"[{ id = 7, api_url = "http://a:1", raft_url = "http://a:2" }]"#;
    let vars = [
        ("MIROIR_COORDINATOR__ID", "7"),
        ("MIROIR_COORDINATOR__PEERS", peers),
    ];
    let config = parse(text, &vars).expect("valid");
    assert_eq!(config.me().raft_url, "http://a:2");
}

#[test]
fn what_is_wrong_is_named_with_its_place() {
    let with = |line: &str| parse(&GOOD.replace("id = 2\n", &format!("id = 2\n{line}\n")), &[]);
    let env = |name: &str, value: &str| parse(GOOD, &[(name, value)]);
    let table: Vec<(Result<Config, ConfigError>, &[&str])> = vec![
        (
            with("lease_milliseconds = 1"),
            &["c.toml, line 3", "lease_milliseconds"],
        ),
        (
            with("lease_ms = \"soon\""),
            &["c.toml, line 3", "lease_ms"][..1],
        ),
        (with("lease_ms = 1"), &["`lease_ms`", "500 to 60000"]),
        (with("static_reads_ms = 1"), &["`static_reads_ms`"]),
        (with("cluster = \" \""), &["`cluster`"]),
        (
            with("cluster_token_file = \"/nowhere\""),
            &["`cluster_token`", "twice"],
        ),
        (with("x = ["), &["c.toml, line"]),
        (
            parse(&format!("{GOOD}\nheart = 1"), &[]),
            &["heart", "heartbeat_ms"],
        ),
        (
            parse(&GOOD.replace("= 100", "= 5"), &[]),
            &["`raft.heartbeat_ms`"],
        ),
        (
            parse(&GOOD.replace("= 100", "= 900"), &[]),
            &["`raft.election_min_ms`"],
        ),
        (
            parse(&GOOD.replace("id = 2\n", "id = 3\n"), &[]),
            &["`peers`", "id = 3"],
        ),
        (parse(&GOOD.replace("id = 2\n", ""), &[]), &["`id`"]),
        (
            parse(&GOOD.replace("http://b:7720", "http://a:7720"), &[]),
            &["raft_url", "twice"],
        ),
        (
            with("api_addr = \"127.0.0.1:1\"\nhttp_addr = \"127.0.0.1:1\""),
            &["`http_addr`", "`api_addr`"],
        ),
        (
            parse(
                &GOOD.replace(
                    "http://b:7720\"",
                    "http://b:7720\", http_url = \"http://a:7710\"",
                ),
                &[],
            ),
            &["http_url", "twice"],
        ),
        (
            parse(&GOOD.replace("http://b:7720", "ftp://b"), &[]),
            &["raft_url", "only http"],
        ),
        (
            parse(&GOOD.replace("cluster_token", "# t"), &[]),
            &["`cluster_token`", "MIROIR_CLUSTER_TOKEN"],
        ),
        (
            parse(&GOOD.replace("node_master_key", "# k"), &[]),
            &["`node_master_key`"],
        ),
        (
            env("MIROIR_COORDINATOR__LEASES", "1"),
            &["MIROIR_COORDINATOR__LEASES", "leases"],
        ),
        (
            env("MIROIR_COORDINATOR__ID", "one"),
            &["MIROIR_COORDINATOR__ID"],
        ),
        (
            env("MIROIR_COORDINATOR__ID__X", "1"),
            &["MIROIR_COORDINATOR__ID__X", "not a section"],
        ),
        (env("MIROIR_CLUSTER_TOKEN", ""), &["`cluster_token`"]),
        (
            env("MIROIR_CLUSTER_TOKEN", "a b"),
            &["`cluster_token`", "ASCII"],
        ),
    ];
    for (result, words) in table {
        let error = result.expect_err("refused").to_string();
        for word in words {
            assert!(error.contains(word), "`{word}` is not in: {error}");
        }
    }
}

#[test]
fn secrets_are_in_no_error_and_no_debug_output() {
    let config = parse(GOOD, &[("MIROIR_NODE_MASTER_KEY", "s3cret-other")]).expect("valid");
    let shown = format!("{config:?}");
    assert!(!shown.contains("s3cret"), "{shown}");
    // A misspelt key stands on the line of the secret; the parser's own text would quote it.
    let error = parse(&GOOD.replace("cluster_token", "cluster_tokn"), &[]).expect_err("misspelt");
    assert!(error.to_string().contains("cluster_tokn"), "{error}");
    assert!(!format!("{error} {error:?}").contains("s3cret"), "{error}");
}

#[test]
fn a_secret_may_stand_in_a_file() {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("token");
    std::fs::write(&path, "from-file\n").expect("written");
    let line = format!("cluster_token_file = {:?}", path);
    let text = GOOD.replace("cluster_token = \"s3cret-token\"", &line);
    assert_eq!(
        parse(&text, &[]).expect("valid").token().expose(),
        "from-file"
    );
    std::fs::remove_file(&path).expect("removed");
    let error = parse(&text, &[]).expect_err("no such file").to_string();
    assert!(error.contains(&path.display().to_string()), "{error}");
}

#[test]
fn the_example_configuration_is_valid_and_shows_every_default() {
    let path = concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/../../cluster-config/coordinator.toml"
    );
    let text = std::fs::read_to_string(path).expect("the example");
    let secrets = [
        ("MIROIR_COORDINATOR__ID", "1"),
        ("MIROIR_CLUSTER_TOKEN", "t"),
        ("MIROIR_NODE_MASTER_KEY", "k"),
    ];
    let example = parse(&text, &secrets).expect("valid");
    assert_eq!(example.peers.len(), 3);
    // Each commented-out field, put in force, must change nothing: the comment tells the default.
    let in_force: String = text
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if is_field(rest) => rest,
            _ => line,
        })
        .map(|line| format!("{line}\n"))
        .collect();
    assert_ne!(in_force, text);
    let shown = parse(&in_force, &secrets).expect("valid");
    assert_eq!(format!("{shown:?}"), format!("{example:?}"));
}

/// `name = value` of a field that has a default: no secret, and no file.
fn is_field(line: &str) -> bool {
    let name = line.split(" = ").next().unwrap_or("");
    line.contains(" = ")
        && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
        && !name.starts_with("cluster_token")
        && !name.starts_with("node_master_key")
        && name != "id"
        && name != "ca_file"
}
