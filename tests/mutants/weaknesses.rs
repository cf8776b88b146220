//! How the policy could be weaker than it is: a list of one-line mistakes, and sources that have all of them, each behind a number.
//!
//! The mistakes are made in copies, and all copies stay below `target`: what is built of `src` has no such number, no feature and no variable, since
//! a way to weaken the policy for a test would be one for everybody. A copy is compiled once for all mistakes; the process's environment says
//! which it makes.

use std::cmp::Reverse;
use std::collections::BTreeSet;
use std::fs;
use std::ops::Range;
use std::path::Path;

/// The variable that has the numbers of the mistakes to be made, separated by commas.
pub const VARIABLE: &str = "WEAKNESSES";

/// A file, a place of it with the weakened expression in «», and what may stand there instead.
pub struct Weakness {
    pub file: &'static str,
    pub place: &'static str,
    pub instead: &'static [&'static str],
}

const fn at(file: &'static str, place: &'static str, instead: &'static [&'static str]) -> Weakness {
    Weakness { file, place, instead }
}

const JUDGE: &str = "src/net/policy/mod.rs";
const RULE: &str = "src/net/policy/rule.rs";
const ENTRY: &str = "src/net/policy/entry.rs";
const CIDR: &str = "src/net/policy/cidr.rs";
const SPECIAL: &str = "src/net/policy/special.rs";

/// Of the policy.
pub const WEAKNESSES: [Weakness; 43] = [
    at(JUDGE, "if «port == 0» {", &["false"]),
    at(JUDGE, "let address = «canonical(address)»;\n        if port", &["address"]),
    at(JUDGE, "if «self.is_bundle(address)» {", &["false"]),
    at(
        JUDGE,
        "if «self.names(protocol, address, port)» {",
        &["self.rules.iter().any(|rule| rule.matches(protocol, address, port))", "!self.rules.is_empty()"],
    ),
    at(JUDGE, "if let Some(special) = «special(address)» {", &["None::<Special>"]),
    at(JUDGE, "if «self.surroundings.network.contains(address)» {", &["false"]),
    at(
        JUDGE,
        "if «self.surroundings.host.iter().any(|own| canonical(*own) == address)» {",
        &["false", "self.surroundings.host.contains(&address)", "self.surroundings.host.first() == Some(&address)"],
    ),
    at(
        JUDGE,
        "if «self.rules.iter().any(|rule| rule.matches(protocol, address, port))» {",
        &[
            "true",
            "!self.rules.is_empty()",
            "self.rules.iter().any(|rule| rule.matches(rule.protocol(), address, port))",
        ],
    ),
    at(JUDGE, "        «Verdict::Deny(Denial::NotAllowed)»\n    }", &["Verdict::Allow(How::Direct)"]),
    at(JUDGE, "let address = «canonical(address)»;\n        let bundle", &["address"]),
    at(JUDGE, "«rule.network().is_single()» && rule.matches(", &["true", "rule.network().prefix() >= 24"]),
    at(JUDGE, "is_single() && «rule.matches(protocol, address, port)»;", &["rule.network().contains(address)"]),
    at(JUDGE, "Bundle::Virtual(bundle) => «address == IpAddr::V4(bundle)»,", &["false"]),
    at(JUDGE, "Bundle::External(bundle) => «address == canonical(bundle)»,", &["false", "address == bundle"]),
    at(JUDGE, "if «protocol != Protocol::Tcp» ||", &["false"]),
    at(JUDGE, "|| «!BUNDLE_PORTS.contains(&port)» {", &["false", "!(8888..=9420).contains(&port)"]),
    at(JUDGE, "Bundle::Virtual(_) => «How::Bundle(port)»,", &["How::Direct", "How::Bundle(8888)"]),
    at(JUDGE, "if «policy.surroundings.network.covers(rule.network())» {", &["false"]),
    at(JUDGE, "if «rule.network().is_single() && policy.is_bundle(rule.network().network())» {", &["false"]),
    at(RULE, "«self.protocol == protocol»\n", &["true"]),
    at(
        RULE,
        "&& «(self.first_port..=self.last_port).contains(&port)»\n",
        &[
            "true",
            "self.first_port <= port",
            "port <= self.last_port",
            "(self.first_port..=self.last_port.saturating_add(1)).contains(&port)",
            "(self.first_port.saturating_sub(1)..=self.last_port).contains(&port)",
        ],
    ),
    at(RULE, "&& «self.network.contains(address)»\n", &["true"]),
    at(RULE, "return «Ok(Protocol::Tcp)»;", &["Ok(Protocol::Udp)"]),
    at(RULE, "match «cursor.rest()» {", &["\"\""]),
    at(RULE, "Ok(port) if «port > 0» =>", &["true"]),
    at(RULE, "if «last < first» {", &["false"]),
    at(RULE, "if «wholly_canonical_v4(network)» {", &["false"]),
    at(RULE, "Some(special) if «!network.is_single()» =>", &["false"]),
    at(ENTRY, "if «of > ENTRIES_MAX» {", &["false"]),
    at(
        ENTRY,
        "    «entries.iter().map(AsRef::as_ref).enumerate().map(rule).collect()»\n",
        &["entries.iter().map(AsRef::as_ref).enumerate().map(rule).filter(Result::is_ok).collect()"],
    ),
    at(CIDR, "if «network.network == address» {", &["true"]),
    at(CIDR, "&& «masked(address, self.prefix) == self.network»\n", &["true"]),
    at(CIDR, "«self.prefix <= other.prefix» &&", &["true"]),
    at(
        CIDR,
        "let mask = «u32::MAX.checked_shl(32 - u32::from(prefix))»",
        &["u32::MAX.checked_shl(33 - u32::from(prefix))"],
    ),
    at(
        CIDR,
        "let mask = «u128::MAX.checked_shl(128 - u32::from(prefix))»",
        &["u128::MAX.checked_shl(129 - u32::from(prefix))"],
    ),
    at(
        SPECIAL,
        "«Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into()»,",
        &[
            "address",
            "if v6.segments()[5] == 0 { address } else { Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into() }",
            "if v6.segments()[5] != 0 { address } else { Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low)).into() }",
            "Ipv4Addr::from_bits(u32::from(low) << 16 | u32::from(high)).into()",
        ],
    ),
    // Each line of the table left out.
    at(
        SPECIAL,
        "find_map(|(network, special)| «network.contains(address)».then_some",
        &[
            "network.contains(address) && network.to_string() != \"169.254.169.254\"",
            "network.contains(address) && network.to_string() != \"100.100.100.200\"",
            "network.contains(address) && network.to_string() != \"168.63.129.16\"",
            "network.contains(address) && network.to_string() != \"fd00:ec2::254\"",
            "network.contains(address) && network.to_string() != \"fd20:ce::254\"",
            "network.contains(address) && network.to_string() != \"0.0.0.0/8\"",
            "network.contains(address) && network.to_string() != \"127.0.0.0/8\"",
            "network.contains(address) && network.to_string() != \"169.254.0.0/16\"",
            "network.contains(address) && network.to_string() != \"224.0.0.0/4\"",
            "network.contains(address) && network.to_string() != \"255.255.255.255\"",
            "network.contains(address) && network.to_string() != \"240.0.0.0/4\"",
            "network.contains(address) && network.to_string() != \"::\"",
            "network.contains(address) && network.to_string() != \"::1\"",
            "network.contains(address) && network.to_string() != \"fe80::/10\"",
            "network.contains(address) && network.to_string() != \"ff00::/8\"",
            "network.contains(address) && network.to_string() != \"64:ff9b::/96\"",
            "network.contains(address) && network.to_string() != \"64:ff9b:1::/48\"",
            "network.contains(address) && network.to_string() != \"::ffff:0:0:0/96\"",
            "network.contains(address) && network.to_string() != \"2002::/16\"",
            "network.contains(address) && network.to_string() != \"2001::/32\"",
            "network.contains(address) && network.to_string() != \"fec0::/10\"",
        ],
    ),
    at(SPECIAL, "or_else(|| «isatap».then_some", &["false"]),
    at(SPECIAL, "v6.segments()[4] & «!0x200» == 0", &["!0"]),
    at(SPECIAL, "find(|(special, _)| «special.covers(network)»)", &["false"]),
    at(SPECIAL, "!«plain» &&", &["false"]),
    at(SPECIAL, "(«disguised([0; 8])» ||", &["false"]),
    at(SPECIAL, "|| «disguised([0, 0, 0, 0, 0, 0xffff, 0, 0])»)", &["false"]),
];

/// Every mistake by its number, from 1, with what makes it.
pub fn numbered(weaknesses: &[Weakness]) -> impl Iterator<Item = (usize, &Weakness, &str)> {
    let all = weaknesses.iter().flat_map(|weakness| weakness.instead.iter().map(move |instead| (weakness, *instead)));
    all.enumerate().map(|(index, (weakness, instead))| (index + 1, weakness, instead))
}

/// Makes the copy `root` of the sources weak, in all these ways; which of them count is in [`VARIABLE`].
pub fn weaken(root: &Path, weaknesses: &[Weakness]) {
    let files: BTreeSet<_> = weaknesses.iter().map(|weakness| weakness.file).collect();
    for file in files {
        let path = root.join(file);
        let mut text = fs::read_to_string(&path).unwrap();
        let here = weaknesses.iter().filter(|weakness| weakness.file == file);
        let mut edits: Vec<_> = here.map(|weakness| (expression(&text, weakness), weakness)).collect();
        // From the end on, so that places stay where they are.
        edits.sort_by_key(|(range, _)| Reverse(range.start));
        for (range, weakness) in edits {
            let cases = numbered(weaknesses).filter(|(_, other, _)| std::ptr::eq(*other, weakness));
            let cases = cases.map(|(number, _, instead)| format!("if crate::makes({number}) {{ {instead} }} else "));
            let weak = format!("({}{{ {} }})", cases.collect::<String>(), &text[range.clone()]);
            text.replace_range(range, &weak);
        }
        fs::write(path, text).unwrap();
    }
    let library = root.join("src/lib.rs");
    fs::write(&library, fs::read_to_string(&library).unwrap() + MAKES).unwrap();
}

/// Where the expression of a place stands in its file's text.
fn expression(text: &str, weakness: &Weakness) -> Range<usize> {
    let (before, rest) = weakness.place.split_once('«').unwrap();
    let (expression, after) = rest.split_once('»').unwrap();
    let place = [before, expression, after].concat();
    let found: Vec<_> = text.match_indices(&place).collect();
    assert_eq!(found.len(), 1, "{} has not one place like `{place}`: the list is to follow it", weakness.file);
    let start = found[0].0 + before.len();
    start..start + expression.len()
}

const MAKES: &str = r#"
pub(crate) fn makes(number: usize) -> bool {
    static MADE: std::sync::OnceLock<Vec<usize>> = std::sync::OnceLock::new();
    let made = || std::env::var("WEAKNESSES").unwrap_or_default().split(',').filter_map(|word| word.parse().ok()).collect();
    MADE.get_or_init(made).contains(&number)
}
"#;

/// Copies files of the repository.
pub fn copy(files: &[&str], root: &Path) {
    for file in files {
        let to = root.join(file);
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::copy(Path::new(env!("CARGO_MANIFEST_DIR")).join(file), to).unwrap();
    }
}
