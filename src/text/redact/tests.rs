//! Ways to put a secret on a command line, and what may still be seen of them.

use super::*;

/// Command lines with blanks between arguments and `~` for a blank within one, and what is shown. The secret is
/// always `hunter2` or has `Zz` in it.
const FORMS: [(&str, &str); 56] = [
    ("app --pw hunter2 -v", "app --pw *** -v"),
    ("plink -pw hunter2 host", "plink -p*** *** host"),
    ("keytool -keypass hunter2 -v", "keytool -k*** *** -v"),
    ("java -jar a.jar -password hunter2", "java -jar a.jar -p*** ***"),
    ("java -jar a.jar -password=hunter2", "java -jar a.jar -p***"),
    ("app -auth hunter2 x", "app -a*** *** x"),
    ("curl -fsSLu me:hunter2 http://a/", "curl -fsSLu *** http://a/"),
    ("curl -sSH X-Api:~hunter2 http://a/", "curl -sSH *** http://a/"),
    ("app --password hunter2 -v", "app --password *** -v"),
    ("app --password=hunter2", "app --password=***"),
    ("app --api-key:hunter2", "app --api-key:***"),
    ("app --password --hunter2 -v", "app --password *** -v"),
    ("app --password hunter2~with~blanks", "app --password ***"),
    ("app --password=hunter2~with~blanks/and/hunter2", "app --password=***"),
    ("java -Ddb.PassWord=hunter2", "java -Ddb.PassWord=***"),
    ("curl -H Authorization:~Basic~hunter2 http://a/", "curl -H *** http://a/"),
    ("curl --header Authorization:~Bearer~hunter2", "curl --header ***"),
    ("curl Authorization:~Bearer~hunter2", "curl Authorization:***"),
    ("curl Authorization: Basic hunter2 x", "curl Authorization: *** *** x"),
    ("wget --header=X-Vault:~hunter2", "wget --header=***"),
    ("curl -HX-Api:hunter2", "curl -H***"),
    ("curl -u me:hunter2 http://a/", "curl -u *** http://a/"),
    ("curl -ume:hunter2", "curl -u***"),
    ("curl --user me:hunter2", "curl --user ***"),
    ("mysql -uroot -phunter2 db", "mysql -u*** -p*** db"),
    ("sshpass -p hunter2 ssh host", "sshpass -p *** ssh host"),
    ("redis-cli -a hunter2 ping", "redis-cli -a *** ping"),
    ("ldapsearch -w hunter2", "ldapsearch -w ***"),
    ("curl https://hunter2@host/x", "curl https://***@host/x"),
    ("app redis://me:hunter2@db/0", "app redis://***@db/0"),
    ("app redis://:hun/ter2@hunter2@db/0", "app redis://***@db/0"),
    ("app --url=amqp://me:hun@hunter2@db", "app --url=amqp://***@db"),
    ("app amqp://a:hunter2@h1,amqp://b:hunter2@h2", "app amqp://***@h2"),
    ("curl https://a/x?access_token=hunter2", "curl https://a/x?***"),
    ("curl https://a/x?sv=1&sig=hunter2", "curl https://a/x?***"),
    ("java jdbc:postgresql://db/x?user=me&password=hunter2", "java jdbc:postgresql://db/x?***"),
    ("java jdbc:sqlserver://db;user=me;password=hunter2", "java jdbc:sqlserver://db;user=***"),
    ("app Server=db;Password=hunter2;X=1", "app Server=db;Password=***"),
    ("app AccountName=a;AccountKey=hunter2", "app AccountName=a;AccountKey=***"),
    ("curl --data {\"name\":\"x\",\"password\":\"hunter2\"}", "curl --data {\"name\":\"x\",\"password\"***"),
    ("helm --set a=b,db.password=hunter2", "helm --set a=b,db.password=***"),
    ("app me:hunter2@tcp(db:3306)/x", "app ***@tcp(db:3306)/x"),
    ("app me:hun=ter2~hunter2@tcp(db:3306)/x", "app ***@tcp(db:3306)/x"),
    ("sqlplus me/hunter2@db", "sqlplus ***@db"),
    ("app --dsn hunter2", "app --dsn ***"),
    ("curl -b sid=hunter2 --cookie sid=hunter2", "curl -b *** --cookie ***"),
    ("curl Cookie:~sid=hunter2;~b=hunter2", "curl Cookie:***"),
    ("sh -c TOKEN=hunter2~exec~app", "sh -c TOKEN=***"),
    ("sh -c exec~app~--secret~hunter2~-v", "sh -c exec app --secret ***"),
    ("sh -c mysql~-phunter2~db", "sh -c mysql -p***"),
    ("psql -c ALTER~USER~a~PASSWORD~'hunter2'", "psql -c ALTER USER ***"),
    ("env MYSQL_PWD=hunter2 app", "env MYSQL_PWD=*** app"),
    ("app ghp-16C7e42F292c6912E7710Zz838347Ae178B4a", "app ***"),
    ("app eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.Zz4f2Kc9", "app ***"),
    ("app --id=3f2b8c1e-9d7a-4e55-8f10-Zz9912ab34cd", "app --id=***"),
    ("app:~worker~--broker~redis://me:hunter2@db", "app: worker --broker redis://***@db"),
];

#[test]
fn no_secret_is_left_on_a_command_line() {
    for (typed, shown) in FORMS {
        let bytes = typed.replace(' ', "\0").replace('~', " ") + "\0";
        let line = command_line(bytes.as_bytes());
        assert_eq!(line, shown, "{typed}");
        for secret in ["ter2", "hun", "Zz"] {
            assert!(!line.contains(secret), "{typed}: {line}");
            assert!(!program(bytes.as_bytes()).contains(secret), "{typed}");
        }
    }
}

#[test]
fn what_is_no_secret_stays() {
    for line in [
        "redis-server *:6379",
        "/usr/lib/jvm/java-21-openjdk-amd64/bin/java -Xmx512m -XX:+UseG1GC -jar /opt/app-1.2.3.jar",
        "nginx: worker process",
        "sleep 1000.875",
        "/usr/bin/ssh-keygen --version",
        "python3 -m http.server --bind=0.0.0.0 8000",
        "/lib/x86_64-linux-gnu/ld-2.31.so",
    ] {
        assert_eq!(command_line(line.replace(' ', "\0").as_bytes()), line);
    }
    assert_eq!(command_line(b""), "");
}

#[test]
fn a_program_is_one_word_and_a_number() {
    for (cmdline, shown) in [
        (&b"sleep\x001000\0"[..], "sleep, 1 argument"),
        (b"/bin/app\0a\0\0b\0", "/bin/app, 3 arguments"),
        (b"nginx: worker process --x\0\0\0", "nginx:, 0 arguments"),
        (b"a\x1bb\0c", "a\\u{1b}b, 1 argument"),
        (b"", ", 0 arguments"),
        (b"https://hunter2@x?y=z", "https://***@x?***, 0 arguments"),
    ] {
        assert_eq!(program(cmdline), shown);
    }
    assert!(program(&b"x".repeat(100_000)).len() < 200);
}

#[test]
fn addresses_lose_login_and_query() {
    for (text, shown) in [
        ("http://a:80/x", "http://a:80/x"),
        ("http://a/x?", "http://a/x?"),
        ("\"https://u:p@a/b?c=d\" needs TLS", "\"https://***@a/b?***\" needs TLS"),
        ("http://a?t=1 answered, http://b/#t=1 too", "http://a?*** answered, http://b/?*** too"),
        ("http://u:p/q?r@a/x", "http://***@a/x?***"),
        ("https://me:hunter2'x\"y@a/b has", "https://***@a/b has"),
        ("https://me:hunter2 x@a/b", "https://*** x@a/b"),
        ("http://[::1]:80/x and http://[fe80::1]/x:y", "http://[::1]:80/x and http://[fe80::1]/x:y"),
        ("a:b@c", "a:b@c"),
        ("://", "://"),
    ] {
        assert_eq!(urls(text), shown);
    }
}

#[test]
fn lines_stay_lines_and_short() {
    assert_eq!(printable(b"a\nb\x1b[31m\xff\xe2\x80\xae"), "a\\u{a}b\\u{1b}[31m\u{fffd}\\u{202e}");
    assert_eq!(printable("a\u{2066}b\u{61c}\u{feff}".as_bytes()), "a\\u{2066}b\\u{61c}\\u{feff}");
    let long = command_line(&[&b"x".repeat(156)[..], "é\0more".as_bytes()].concat());
    assert_eq!(long, format!("{}...", "x".repeat(156)), "cut before the letter, not within");
    assert!(command_line(&b"word\0".repeat(30_000)).len() < 200);
}

#[test]
fn no_bytes_are_too_odd() {
    let mut random = fastrand::Rng::with_seed(1);
    let parts =
        ["-p", "pass", "@", "://", "=", "?", "\0", " ", "é", "\u{ff}", "basic", "\"", "x1Y2z3A4b5C6", "-"];
    for _ in 0..20_000 {
        let line: String = (0..random.usize(..12)).map(|_| parts[random.usize(..parts.len())]).collect();
        let shown = [command_line(line.as_bytes()), program(line.as_bytes()), urls(&line)];
        assert!(shown.iter().take(2).all(|shown| !shown.contains("x1Y2z3A4b5C6")), "{line:?}: {shown:?}");
    }
}

#[test]
fn a_text_is_cut_between_letters() {
    assert_eq!(cut("é".repeat(9), 8), "éé...");
    assert_eq!(cut("short".to_owned(), 5), "short");
}
