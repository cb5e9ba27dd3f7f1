//! Every kind of mistake, with its line; and that none hides another.

use super::*;

/// Ten lines to put something behind: one source, one experiment.
const BASE: &str = r#"[[sources]]
name = "own"
kind = "inventory"
files = "*.ndjson"
tenants = ["me"]

[[experiments]]
tenant = "me"
name = "x"
variants = [{ name = "a" }, { name = "b" }]
"#;

fn lines_of(text: &str) -> Vec<(usize, String)> {
    let mistakes = parse(text, "aisle.toml", Built::ALL).expect_err(text);
    mistakes.iter().map(|mistake| (mistake.position.line, mistake.to_string())).collect()
}

/// Asserts that a text has exactly these mistakes: lines, and parts of what is said.
fn assert_mistakes(text: &str, expected: &[(usize, &str)]) {
    let found = lines_of(text);
    let fits = found.len() == expected.len()
        && found.iter().zip(expected).all(|(found, (line, part))| found.0 == *line && found.1.contains(part));
    assert!(fits, "{text}\nexpected {expected:#?}\nfound {found:#?}");
}

/// The base with one line replaced.
fn with(line: &str, replacement: &str) -> String {
    assert!(BASE.contains(line), "{line}");
    BASE.replacen(line, replacement, 1)
}

/// The base with lines behind it, the first of which is line 11.
fn and(lines: &str) -> String {
    format!("{BASE}{lines}")
}

#[test]
fn the_base_is_right() {
    settings(BASE);
}

#[test]
fn a_mistake_says_where_what_and_what_to_do() {
    let text = with("tenant = \"me\"", "tenant = \"you\"");
    let mistakes = parse(&text, "samples/aisle.toml", Built::ALL).unwrap_err();
    assert_eq!(
        told(&mistakes),
        "samples/aisle.toml:8:10: experiment \"x\" names the tenant \"you\", which no source feeds; declare it under \
         [[tenants]] or correct the name\n"
    );
    assert_eq!(&text[mistakes[0].span.clone()], "\"you\"");
}

#[test]
fn several_mistakes_are_all_reported_in_the_order_of_the_text() {
    let text = r#"data_dri = "x"
listen = 7
[time]
tick_ms = "fast"
idle_ms = -1
[[sources]]
name = "own"
kind = "experiments"
flies = "x"
weight = 0
tenants = ["me"]
[[sources]]
kind = "inventory"
files = true
[[experiments]]
tenant = "you"
variants = [{ nam = "a" }, { name = "b", weight = "much" }]
[views.stok]
enabled = 1
"#;
    assert_mistakes(
        text,
        &[
            (1, "there is no key `data_dri` here; did you mean `data_dir`?"),
            (2, "`listen`: invalid type: integer `7`; write a text in double quotes"),
            (4, "`tick_ms`: invalid type: string \"fast\"; write a whole number, without quotes"),
            (5, "`idle_ms` is -1, which is out of bounds; write a number from 0 to"),
            (6, "`files` is missing"),
            (8, "`kind` is \"experiments\", which is none of its values; write one of `experiment` and `inventory`"),
            (9, "there is no key `flies` here; did you mean `files`?"),
            (10, "`weight` is 0"),
            (12, "`name` is missing; add `name = …` here"),
            (14, "`files`: invalid type: boolean `true`"),
            (15, "`name` is missing"),
            (16, "names the tenant \"you\""),
            (17, "`name` is missing"),
            (17, "there is no key `nam` here"),
            (17, "`weight`: invalid type: string \"much\""),
            (18, "there is no view `stok`; did you mean `stock`?"),
            (19, "`enabled`: invalid type: integer `1`; write `true` or `false`"),
        ],
    );
}

#[test]
fn text_that_is_no_toml_has_only_the_mistakes_of_its_syntax() {
    assert_mistakes("[time]\ntick_ms = \n", &[(2, "correct the TOML")]);
    assert_mistakes("listen = \"a\"\nlisten = \"b\"\n", &[(2, "duplicate key")]);
}

#[test]
fn what_is_missing() {
    assert_mistakes("", &[(1, "there is no source; begin one with a line `[[sources]]`")]);
    assert_mistakes(
        &with("tenants = [\"me\"]\n", "").replace("tenant = \"me\"\n", ""),
        &[(1, "no tenant is declared"), (6, "`tenant` is missing")],
    );
    assert_mistakes(&with("variants = [{ name = \"a\" }, { name = \"b\" }]", ""), &[(7, "has 0 variants")]);
    assert_mistakes(&and("[[tenants]]\n"), &[(11, "`name` is missing")]);
}

#[test]
fn what_is_no_section_or_no_list() {
    assert_mistakes(&and("[sources2]\n"), &[(11, "there is no key `sources2` here; did you mean `sources`?")]);
    assert_mistakes("sources = 1\n", &[(1, "`sources` is a number, not a list of sections")]);
    assert_mistakes("[sources]\nname = \"own\"\n", &[(1, "in two brackets")]);
    assert_mistakes(&format!("time = 3\n{BASE}"), &[(1, "`time` is a number, not a section")]);
    assert_mistakes(&format!("views.stock = true\n{BASE}"), &[(1, "`views.stock` is a flag, not a section")]);
    assert_mistakes(&with("[{ name = \"a\" }, { name = \"b\" }]", "3"), &[(10, "`variants` is a number")]);
    assert_mistakes(
        &with("[{ name = \"a\" }, { name = \"b\" }]", "[\"a\", \"b\"]"),
        &[(10, "`variants` is a text"), (10, "`variants` is a text")],
    );
}

#[test]
fn numbers_out_of_bounds() {
    for line in
        ["tick_ms = 0", "tick_ms = 1001", "tick_bytes = 4095", "in_flight = 0", "in_flight = 65", "hold_ms = -1"]
    {
        let name = line.split(' ').next().unwrap();
        assert_mistakes(&and(&format!("[time]\n{line}\n")), &[(12, &format!("`{name}` is "))]);
    }
    assert_mistakes(&format!("data_bytes_max = 1\n{BASE}"), &[(1, "write a number of at least 1048576")]);
    assert_mistakes(&and("[sessions]\nkeep_ms = 59999\n"), &[(12, "`keep_ms` is 59999")]);
    assert_mistakes(
        &and("[inventory]\nsafety_stock = -1\ncount_trusted_ms = 0\ndedup_horizon_ms = 0\n"),
        &[(12, "`safety_stock` is -1"), (13, "`count_trusted_ms` is 0"), (14, "`dedup_horizon_ms` is 0")],
    );
    assert_mistakes(
        &and("[fact_sources.pos]\nrank = 65536\nepsilon_ms = 600001\nclass = \"C\"\n"),
        &[
            (12, "`rank` is 65536"),
            (13, "`epsilon_ms` is 600001, which is out of bounds; write a number from 0 to 600000"),
            (14, "write one of `A` and `B`"),
        ],
    );
    assert_mistakes(
        &and("[views.stock]\nshards = 65\nhistory_ticks = -1\nhistory_bytes = -1\n"),
        &[(12, "`shards` is 65"), (13, "`history_ticks` is -1"), (14, "`history_bytes` is -1")],
    );
}

#[test]
fn names_that_are_none_or_taken() {
    let long = format!("name = \"{}\"", "n".repeat(257));
    assert_mistakes(&with("name = \"own\"", "name = \"\""), &[(2, "a source's name is empty")]);
    assert_mistakes(&with("name = \"own\"", &long), &[(2, "a source's name has 257 bytes; write at most 256")]);
    assert_mistakes(&with("[\"me\"]", "[\"me\", \"me\"]"), &[(5, "two tenants of the name \"me\"")]);
    assert_mistakes(&with("[\"me\"]", "[\"me\", \"\"]"), &[(5, "a name in `tenants` is empty")]);
    assert_mistakes(&with("{ name = \"b\" }", "{ name = \"a\" }"), &[(10, "two variants of the name \"a\"")]);
    assert_mistakes(&and(&BASE[..BASE.find("\n\n").unwrap()]), &[(12, "two sources of the name \"own\"")]);
    assert_mistakes(&and("[[tenants]]\nname = \"t\"\n[[tenants]]\nname = \"t\"\n"), &[(14, "two tenants of the name")]);
    assert_mistakes(&and(&BASE[BASE.find("[[experiments]]").unwrap()..]), &[(13, "two experiments of tenant \"me\"")]);
}

#[test]
fn lists_that_are_empty_or_out_of_place() {
    assert_mistakes(
        &with("tenants = [\"me\"]", "tenants = []\nfact_sources = []").replace("\"me\"", "\"own\""),
        &[
            (1, "no tenant is declared"),
            (5, "`tenants` is empty"),
            (6, "`fact_sources` is empty"),
            (9, "names the tenant \"own\""),
        ],
    );
    let events = with("\"inventory\"", "\"experiment\"\nfact_sources = [\"pos\"]");
    assert_mistakes(&events, &[(4, "a source of experiment events has no `fact_sources`")]);
    let closed = with("\"inventory\"", "\"inventory\"\nfact_sources = [\"pos\"]");
    assert_mistakes(&format!("{closed}[fact_sources.pso]\n"), &[(12, "no source has facts of \"pso\"")]);
}

#[test]
fn variants_and_traffic() {
    let many: Vec<String> = (0..17).map(|number| format!("{{ name = \"v{number}\" }}")).collect();
    let of = |variants: &str| with("{ name = \"a\" }, { name = \"b\" }", variants);
    assert_mistakes(&of("{ name = \"a\" }"), &[(7, "has 1 variants; list 2 to 16")]);
    assert_mistakes(&of(&many.join(", ")), &[(10, "has 17 variants")]);
    let weightless = of("{ name = \"a\", weight = 0 }, { name = \"b\", weight = 0 }");
    assert_mistakes(&weightless, &[(10, "no variant of experiment \"x\" has a weight")]);
    for traffic in ["[0]", "[5, 5]", "[0, 1000001]", "[-1, 5]"] {
        assert_mistakes(&and(&format!("traffic = {traffic}\n")), &[(11, "which is not a range of parts per million")]);
    }
    let other = "[[experiments]]\ntenant = \"me\"\nname = \"y\"\nlayer = \"x\"\ntraffic = [500000, 1000000]\n\
                 variants = [{ name = \"a\" }, { name = \"b\" }]\n";
    assert_mistakes(&and(other), &[(15, "experiment \"y\" overlaps \"x\" in layer \"x\"")]);
    settings(&and(&format!("traffic = [0, 500000]\n{other}")));
}

#[test]
fn views_say_only_what_they_can_do() {
    assert_mistakes(
        &and("[views.stock]\nsink = \"sealed\"\nretention_ms = 5\n"),
        &[(12, "rows of `stock` are never sealed"), (13, "rows of `stock` stay")],
    );
    assert_mistakes(
        &and("[views.late_events]\nsink = \"never\"\nretention_ms = 0\n"),
        &[(12, "write one of `changes`, `sealed` and `none`"), (13, "`retention_ms` is 0")],
    );
    settings(&and("[views.session_minutes]\nsink = \"sealed\"\n"));
}

#[test]
fn places_and_addresses() {
    assert_mistakes(
        &format!("data_dir = \"\"\nlisten = \"localhost\"\n{BASE}"),
        &[(1, "`data_dir` is empty"), (2, "`listen` is \"localhost\", which is not an address and a port")],
    );
    assert_mistakes(&with("\"*.ndjson\"", "\"\""), &[(4, "`files` is empty")]);
}

#[test]
fn there_may_not_be_too_many() {
    let source = |number| format!("[[sources]]\nname = \"s{number}\"\nkind = \"inventory\"\nfiles = \"f\"\n");
    let sources: String = (0..1_000).map(source).collect();
    assert_mistakes(&and(&sources), &[(11 + 4 * 999, "there are more than 1000 sources")]);
    let tenants: String = (0..1_000).map(|number| format!("[[tenants]]\nname = \"t{number}\"\n")).collect();
    assert_mistakes(&and(&tenants), &[(5, "there are more than 1000 tenants")]);
    let experiment = |number| BASE[BASE.find("[[exp").unwrap()..].replace("\"x\"", &format!("\"x{number}\""));
    let experiments: String = (0..100).map(experiment).collect();
    assert_mistakes(&and(&experiments), &[(11 + 4 * 99, "there are more than 100 experiments of one tenant")]);
}

#[test]
fn a_glob_without_files_is_a_mistake_at_its_line() {
    let expand = |pattern: &str| match pattern {
        "found" => Ok(vec![PathBuf::from("found")]),
        "none" => Ok(Vec::new()),
        _ => Err("no such pattern".to_owned()),
    };
    let of = |pattern: &str| check(&with("*.ndjson", pattern), "aisle.toml", Built::ALL, expand);
    assert_eq!(of("found"), Ok(()));
    let none = of("none").unwrap_err();
    assert!(
        told(&none).starts_with("aisle.toml:4:9: no file matches \"none\"; correct the pattern"),
        "{}",
        told(&none)
    );
    assert!(told(&of("***").unwrap_err()).contains("\"***\" can't be expanded: no such pattern"));
    let both = check(&with("*.ndjson", "none").replace("\"inventory\"", "\"x\""), "aisle.toml", Built::ALL, expand);
    assert_eq!(both.unwrap_err().iter().map(|mistake| mistake.position.line).collect::<Vec<_>>(), [3, 4]);
}

#[test]
fn mistakes_of_the_http_section_are_named() {
    let text =
        and("[http]\nconnections_max = 0\nhead_ms = 99\norigins = [\"https://desk.example\", \"*\", \"http://a/b\"]\n");
    let expected = [
        (12, "`connections_max` is 0"),
        (13, "`head_ms` is 99"),
        (14, "\"*\" is not an origin"),
        (14, "\"http://a/b\" is not an origin"),
    ];
    assert_mistakes(&text, &expected);
}
