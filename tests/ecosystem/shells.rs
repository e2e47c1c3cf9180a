//! The completion in the real shells, at a key of a real command line where there is one to press: bash and zsh on a
//! pseudo terminal that zsh makes (zpty), fish by its own `complete -C`.

use crate::support::{Folder, binary};
use std::fs;
use std::os::unix::fs::symlink;
use std::process::Command;

/// A folder with the binary under its own name, for PATH, and two files that a shell may offer.
fn place() -> Folder {
    let folder = Folder::new();
    symlink(fs::canonicalize(binary()).unwrap(), folder.0.join("chaos-agent")).unwrap();
    folder.write("some-config.yaml", "");
    folder
}

fn run(command: &mut Command, folder: &Folder) -> String {
    let path = format!("{}:{}", folder.0.display(), std::env::var("PATH").unwrap());
    let done = command.env("PATH", path).env("HOME", &folder.0).current_dir(&folder.0).output().unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(done.status.success(), "{command:?}: {}{}", text(&done.stdout), text(&done.stderr));
    text(&done.stdout)
}

/// What a shell makes of a line at the tab key. The key bindings show the line between marks: `<<` and `>>`. Each read waits for
/// its mark; `timeout` ends a shell that never shows one.
fn press_tab(shell: &str, line: &str, folder: &Folder) -> String {
    let start = match shell {
        "zsh" => {
            "PROMPT=; RPROMPT=; autoload -Uz compinit; compinit -u -D; source <(chaos-agent completion zsh)
            show() { zle complete-word; print -rn -- \"<<$BUFFER>>\"; zle kill-buffer }
            zle -N show; bindkey '^I' show; print re''ady"
        }
        _ => {
            "PS1=; source <(chaos-agent completion bash); show() { printf '<<%s>>' \"$READLINE_LINE\"; }
            bind -x '\"\\C-xs\": show'; bind 'set bell-style none'; bind '\"\\C-xt\": complete'
            bind '\"\\t\": \"\\C-xt\\C-xs\"'; echo re''ady"
        }
    };
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "'\\''"));
    let arguments = if shell == "zsh" { "-f -i" } else { "--norc --noprofile -i" };
    let script = format!(
        "zmodload zsh/zpty; zpty shell TERM=dumb {shell} {arguments}
        zpty -w shell {}; zpty -r shell text '*ready'$'\\r\\n*'
        zpty -n -w shell {}$'\\t'; zpty -r shell text '*<<*>>'; print -r -- \"$text\"; zpty -d shell",
        quoted(&start.replace('\n', ";")),
        quoted(line),
    );
    let text = run(Command::new("timeout").args(["60", "zsh", "-f", "-c", &script]), folder);
    let (_, shown) = text.rsplit_once("<<").unwrap();
    shown.split(">>").next().unwrap().to_owned()
}

#[test]
fn bash_and_zsh_complete_a_line_at_the_tab_key() {
    let folder = place();
    for shell in ["bash", "zsh"] {
        for (line, completed) in [
            ("chaos-agent reve", "chaos-agent revert "),
            ("chaos-agent plan --out", "chaos-agent plan --output "),
            ("chaos-agent plan --output=j", "chaos-agent plan --output=json "),
            ("chaos-agent run --config=some", "chaos-agent run --config=some-config.yaml "),
            ("chaos-agent validate so", "chaos-agent validate some-config.yaml "),
            // A value follows at once.
            ("chaos-agent inject cpu cor", "chaos-agent inject cpu cores="),
            ("chaos-agent inject process action=k", "chaos-agent inject process action=kill "),
            ("chaos-agent plan --seed so", "chaos-agent plan --seed so"),
        ] {
            assert_eq!(press_tab(shell, line, &folder), completed, "{shell}");
        }
    }
}

/// Names that a shell would run or take apart, and what stands in the command line for each.
const EVIL: [(&str, &str); 4] = [
    ("a$(touch ran).yaml", "a\\$\\(touch\\ ran\\).yaml"),
    ("b`touch ran`.yaml", "b\\`touch\\ ran\\`.yaml"),
    ("p|touch ran;.yaml", "p\\|touch\\ ran\\;.yaml"),
    ("d'e\"f.yaml", "d\\'e\\\"f.yaml"),
];

#[test]
fn no_name_of_a_file_and_no_word_is_run() {
    let folder = place();
    for (name, _) in EVIL {
        folder.write(name, "");
    }
    for shell in ["bash", "zsh"] {
        for (name, quoted) in EVIL {
            for before in ["run --config ", "run --config=", "validate "] {
                let line = format!("chaos-agent {before}");
                let completed = press_tab(shell, &format!("{line}{}", &name[..1]), &folder);
                assert_eq!(completed, format!("{line}{quoted} "), "{shell}");
            }
        }
        for word in ["$(touch ran)", "`touch ran`", "\"$(touch ran)"] {
            for before in ["run --config=", "validate ", "inject process action=", "plan --output="] {
                press_tab(shell, &format!("chaos-agent {before}{word}"), &folder);
            }
        }
    }
    for line in ["run --config ", "run --config=", "run --config=(touch ran)", "validate $(touch ran)"] {
        let script = "chaos-agent completion fish | source; complete -C $argv[1]";
        let line = format!("chaos-agent {line}");
        run(Command::new("fish").args(["--no-config", "-c", script, &line]), &folder);
    }
    assert!(!folder.0.join("ran").exists());
}

#[test]
fn fish_offers_words_with_what_they_are_for() {
    let folder = place();
    let ask = |line: &str| {
        let script = "chaos-agent completion fish | source; complete -C $argv[1]";
        let text = run(Command::new("fish").args(["--no-config", "-c", script, line]), &folder);
        text.lines().map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(ask("chaos-agent plan --out"), ["--output\tfor people or for programs"]);
    assert_eq!(ask("chaos-agent plan --output="), ["--output=json", "--output=text"]);
    assert_eq!(ask("chaos-agent run --config=some"), ["--config=some-config.yaml"]);
    assert_eq!(ask("chaos-agent validate so"), ["some-config.yaml"]);
    assert_eq!(ask("chaos-agent inject cpu cor"), ["cores="]);
    assert_eq!(ask("chaos-agent tc "), Vec::<String>::new());
}

#[test]
fn every_script_is_one_that_its_shell_can_read() {
    let folder = place();
    for shell in ["bash", "zsh", "fish"] {
        let script = format!("chaos-agent completion {shell} >script && {shell} -n script");
        run(Command::new("bash").args(["-c", &script]), &folder);
        assert!(fs::metadata(folder.0.join("script")).unwrap().len() > 100);
    }
}
