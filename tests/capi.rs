//! The runtime for C: programs in C and C++ give the bits of a session in Rust, and leave no memory that is not freed.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use trine::{Options, Program, Session, SessionOptions, Tensor, View};

use crate::graphs::shipped::load;
use crate::outside;

const HEADER: &str = include_str!("../runtime/capi/include/trine.h");

/// As the examples run: they take open sizes as 2, and read this prompt.
const OPEN: usize = 2;
const PROMPT: [i64; 4] = [5, 9, 7, 2];
const COUNT: usize = 6;

/// The machines that models are compiled for: the one at hand, and one that valgrind knows.
const CPUS: [&str; 2] = ["native", "baseline"];

/// The folder with the library, built as its header says.
fn library() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        assert!(HEADER.contains("`cargo build --release -p trine-capi`"));
        let folder = outside::root().join("target/capi");
        outside::success(
            outside::program(env!("CARGO"))
                .args(["build", "--quiet", "--release", "-p", "trine-capi", "--target-dir"])
                .arg(&folder)
                .current_dir(outside::root()),
        );
        folder.join("release")
    })
}

/// Compiles an example of the library by the line that the header has for C; `libraries` in place of the archive.
fn compile(compiler: &[&str], source: &str, libraries: &[String], program: &Path) {
    let line =
        HEADER.lines().find(|line| line.contains("cc -std=c99 ")).expect("the header says how to link");
    let words = line.trim_start_matches([' ', '*']).split_whitespace().skip(2);
    let mut command = outside::program(compiler[0]);
    command.args(&compiler[1..]).args(["-Wall", "-Wextra", "-Werror"]).current_dir(outside::root());
    for word in words {
        match word {
            "run.c" => command.arg(outside::root().join("runtime/capi/examples").join(source)),
            "target/release/libtrine_c.a" => command.args(libraries),
            "run" => command.arg(program),
            word => command.arg(word),
        };
    }
    outside::success(&mut command);
}

fn archive() -> Vec<String> {
    vec![library().join("libtrine_c.a").display().to_string()]
}

fn shared() -> Vec<String> {
    let folder = library().display();
    vec![format!("-L{folder}"), "-ltrine_c".into(), format!("-Wl,-rpath,{folder}")]
}

/// A model of the tests as a file for `cpu`, and its program.
fn model(name: &str, cpu: &str, folder: &Path) -> (PathBuf, Arc<Program>) {
    let model = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/models").join(name);
    let file = folder.join(format!("{}-{cpu}.trine", name.replace('/', "-")));
    trine::compile_to(model, &file, &[cpu], &Options::default()).unwrap();
    let program = load(std::fs::read(&file).unwrap()).unwrap();
    (file, Arc::new(program))
}

/// Under valgrind, for which every byte that is not freed at the end is an error.
fn checked(program: &Path) -> Command {
    let mut valgrind = outside::program("valgrind");
    valgrind.args(["-q", "--error-exitcode=9", "--leak-check=full", "--errors-for-leak-kinds=all"]);
    valgrind.arg(program);
    valgrind
}

fn said(command: &mut Command) -> String {
    String::from_utf8(outside::success(command).stdout).unwrap()
}

/// Whether numbers that were printed are those of f32, to the bit.
fn are_bits<'a>(printed: impl Iterator<Item = &'a str>, want: &[f32]) -> bool {
    let printed: Vec<u32> = printed.map(|word| word.parse::<f32>().unwrap().to_bits()).collect();
    printed.iter().copied().eq(want.iter().map(|number| number.to_bits()))
}

#[test]
fn c_programs_give_the_bits_of_a_session() {
    if !outside::asked("C programs around the runtime give the bits of a session in Rust") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (by_archive, by_library) = (folder.path().join("run"), folder.path().join("run-shared"));
    compile(&["cc", "-std=c99"], "run.c", &archive(), &by_archive);
    compile(&["cc", "-std=c99"], "run.c", &shared(), &by_library);
    for cpu in CPUS {
        let (file, program) = model("digits/mlp.onnx", cpu, folder.path());
        let x: Vec<f32> = (0..OPEN * 64).map(|i| (i % 13) as f32 / 13.0).collect();
        let x = Tensor::from_vec(vec![OPEN, 64], x).unwrap();
        let outputs = Session::new(program, &SessionOptions::default()).run(&[x]).unwrap();
        let want = outputs[0].values::<f32>().unwrap();
        for program in [&by_archive, &by_library] {
            let said = said(outside::program(program).arg(&file));
            let mut lines = said.lines();
            assert_eq!(lines.next(), Some("input x: f32[batch,64]"));
            assert_eq!(lines.next(), Some("output logits: f32[batch,10]"));
            assert_eq!(lines.next(), Some("logits has 80 bytes"));
            assert!(are_bits(lines, &want), "{cpu}: {said}");
        }
        // Once, and a thousand times: what each run leaves would be seen.
        if cpu == "baseline" {
            for runs in ["1", "1000"] {
                let said = said(checked(&by_archive).arg(&file).arg(runs));
                assert!(are_bits(said.lines().skip(3), &want), "{runs} runs: {said}");
            }
        }
    }
    let missing = outside::program(&by_archive).arg(folder.path().join("no.trine")).output().unwrap();
    assert_eq!(missing.status.code(), Some(1));
    let text = String::from_utf8(missing.stderr).unwrap();
    assert!(text.starts_with("TRINE_FILE: it cannot be read: "), "{text}");
}

/// Tokens and the last logits, of a decoder that is always sure.
fn decoded(program: Arc<Program>) -> (Vec<usize>, Vec<f32>) {
    let capacity = Some(PROMPT.len() + COUNT);
    let mut session = Session::new(
        program.clone(),
        &SessionOptions { threads: 1, state_capacity: capacity, ..SessionOptions::default() },
    );
    let output = program.output("logits").unwrap();
    let mut read = |tokens: &[i64]| {
        let ids = Tensor::from_vec(vec![1, tokens.len()], tokens.to_vec()).unwrap();
        let (read, seen) = (session.filled(), session.filled() + tokens.len());
        let mask = Tensor::from_vec(vec![1, seen], vec![1i64; seen]).unwrap();
        let positions: Vec<i64> = (read as i64..).take(tokens.len()).collect();
        let positions = Tensor::from_vec(vec![1, tokens.len()], positions).unwrap();
        session.execute(&[View::from(&ids), View::from(&mask), View::from(&positions)]).unwrap();
        let logits = session.output(output).to_tensor().unwrap();
        let values = logits.values::<f32>().unwrap();
        values[(tokens.len() - 1) * logits.dims()[2]..].to_vec()
    };
    let mut logits = read(&PROMPT);
    let mut tokens = vec![];
    for _ in 0..COUNT {
        let best = (1..logits.len()).fold(0, |best, i| if logits[i] > logits[best] { i } else { best });
        tokens.push(best);
        logits = read(&[best as i64]);
    }
    (tokens, logits)
}

#[test]
fn cpp_programs_save_restore_and_fork() {
    if !outside::asked("C++ programs around the runtime save, restore and fork states") {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let decode = folder.path().join("decode");
    compile(&["c++", "-std=c++17"], "decode.cpp", &archive(), &decode);
    for cpu in CPUS {
        let (file, program) = model("lm/f32.onnx", cpu, folder.path());
        let (tokens, logits) = decoded(program);
        let tokens: Vec<String> = tokens.iter().map(usize::to_string).collect();
        let mut commands = vec![outside::program(&decode)];
        if cpu == "baseline" {
            commands.push(checked(&decode));
        }
        for command in &mut commands {
            command.arg(&file).arg(COUNT.to_string()).args(PROMPT.map(|token| token.to_string()));
            let said = said(command);
            assert!(said.contains("restored: 4 tokens in "), "{said}");
            for what in ["first", "again", "fork"] {
                let line = |start: String| {
                    let line = said.lines().find_map(|line| line.strip_prefix(&start));
                    line.unwrap_or_else(|| panic!("no `{start}` in {said}")).to_string()
                };
                assert_eq!(line(format!("{what}: ")), tokens.join(" "), "{cpu}");
                let printed = line(format!("logits of {what}: "));
                assert!(are_bits(printed.split(' '), &logits), "{cpu}: {printed}");
            }
        }
        // What the runtime says of a mistake comes out by name.
        let wrong = outside::program(&decode).arg(&file).args(["1", "99999999"]).output().unwrap();
        assert_eq!(wrong.status.code(), Some(1));
        let text = String::from_utf8(wrong.stderr).unwrap();
        assert!(text.starts_with("TRINE_RUN: ") && text.contains("index"), "{text}");
    }
}
