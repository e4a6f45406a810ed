//! The exit code says whose fault it is, for every subcommand: 1 the model's or its input's, 2 the command line's. 3, which
//! is Trine's own, comes of nothing that a user can write.

use std::process::{Output, Stdio};

use trine::Tensor;
use trine::npz::write_npz;

use crate::command::{command, model, printed};

/// A folder with files that are not what they should be.
struct Setting(tempfile::TempDir);

impl Setting {
    fn new() -> Setting {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, content: &[u8]| std::fs::write(folder.path().join(name), content).unwrap();
        write("noise.onnx", &[0xff; 99]);
        write("empty.onnx", b"");
        write("noise.npz", b"zip?");
        write("noise.json", b"{");
        write("noise.txt", &[0xff; 9]);
        write("bad.ir", b"graph @main(%x: f32[2]) -> (%y: f32[2]) {\n  %y = nop %x : f32[2]\n}\n");
        write("wrong.ir", b"graph @main(%x: f32[2]) -> (%y: f32[3]) {\n  %y = tanh %x : f32[3]\n}\n");
        write(
            "data.ir",
            b"graph @main(%x: f32[4]) -> (%i: i64[1,n]) {\n  %i = nonzero %x {count=n} : i64[1,n]\n}\n",
        );
        write("text.txt", b"Once upon a time there was a compiler of small models.\n");
        let arrays: [(&str, Tensor); 4] = [
            ("x", Tensor::from_vec(vec![2, 64], vec![0.5f32; 128]).unwrap()),
            ("wide", Tensor::from_vec(vec![2, 65], vec![0.5f32; 130]).unwrap()),
            ("nan", Tensor::from_vec(vec![2, 64], vec![f32::NAN; 128]).unwrap()),
            ("y", Tensor::vector(vec![1i64, 2])),
        ];
        write_npz(folder.path().join("in.npz"), arrays.iter().map(|(name, t)| (*name, t))).unwrap();
        Setting(folder)
    }

    /// Runs a command line, in which `MLP`, `LM` and the like stand for the committed models.
    fn run(&self, line: &str) -> (Option<i32>, String) {
        let named = [
            ("MLP", "digits/mlp.onnx"),
            ("LM", "lm/f32.onnx"),
            ("RNN", "digits/rows_gru.onnx"),
            ("TOKENS", "lm/tokenizer.json"),
        ];
        let args = line.split(' ').filter(|a| !a.is_empty()).map(|a| {
            let known = named.iter().find(|(name, _)| *name == a);
            known.map_or(a.to_string(), |(_, file)| model(file))
        });
        let Output { status, stderr, .. } = command(&[]).args(args).current_dir(&self.0).output().unwrap();
        (status.code(), String::from_utf8_lossy(&stderr).into_owned())
    }

    fn check(&self, code: i32, lines: &str) {
        let wrong: Vec<String> = lines
            .lines()
            .map(str::trim)
            .filter(|line| !line.is_empty())
            .map(|line| (line, self.run(line)))
            .filter(|(_, (got, said))| *got != Some(code) || said.is_empty() || said.contains("bug in Trine"))
            .map(|(line, (got, said))| format!("trine {line}: {got:?}\n{said}"))
            .collect();
        assert!(wrong.is_empty(), "not {code}:\n{}", wrong.join("\n"));
    }
}

#[test]
fn what_is_wrong_with_models_and_inputs_is_1() {
    Setting::new().check(
        1,
        "
        inspect none.onnx
        run none.onnx
        opt none.ir
        compile none.onnx -o build
        generate none.onnx --prompt a
        bench none.onnx
        perplexity none.onnx --text text.txt
        accuracy none.onnx --data in.npz
        features none.onnx --data in.npz
        ternarize none.onnx --method exact -o out
        inspect noise.onnx
        inspect empty.onnx
        run noise.onnx -i x=in.npz:x
        opt bad.ir
        run bad.ir
        opt wrong.ir
        bench wrong.ir
        compile wrong.ir -o build
        compile data.ir -o build
        run data.ir -i x=in.npz:y
        run MLP -i x=none.npz:x
        run MLP -i x=noise.npz:x
        run MLP -i x=in.npz:wide
        run MLP -i x=in.npz:y
        run MLP -i x=in.npz:z
        run MLP -i noise.npz
        run MLP -i x=in.npz:x -o none/out.npz
        opt MLP -o none/model.ir
        generate MLP --prompt a
        generate MLP --prompt a --tokenizer TOKENS
        generate LM --prompt a --tokenizer noise.json
        generate LM --prompt a --tokenizer none.json
        perplexity LM --text none.txt
        perplexity LM --text noise.txt
        perplexity MLP --text text.txt --tokenizer TOKENS
        accuracy MLP --data none.npz
        accuracy MLP --data noise.npz
        accuracy MLP --data in.npz --labels wide
        accuracy MLP --data in.npz --labels z
        features RNN --data noise.npz
        features RNN --data in.npz
        features MLP --data in.npz --value nothing
        ternarize MLP --calib none.npz -o out
        ternarize MLP --calib noise.npz -o out
        ternarize LM --calib none.txt -o out
        ternarize MLP --method exact --rotate -o out
        ",
    );
}

#[test]
fn what_is_wrong_with_the_command_line_is_2() {
    Setting::new().check(
        2,
        "
        fly
        run
        run MLP
        run MLP --nothing
        run MLP -O 3
        run MLP -i x
        run MLP -i in.csv
        run MLP -i y=in.npz:x
        run MLP -i x=in.npz:x -i x=in.npz:x
        run MLP -i x=in.npz:x -o out.csv
        run MLP -i x=in.npz:x --threads 0
        run MLP -i x=in.npz:x --threads many
        run MLP -i x=in.npz:x --backend gpu
        run MLP -i x=in.npz:x --activations i3
        run MLP -i x=in.npz:x --passes simplfy
        run MLP -i x=in.npz:x --passes ternarize{method=nothing}
        run MLP -i x=in.npz:x --passes ternarize{activations=i3}
        run MLP -i x=in.npz:x --passes ternarize-features{form=odd}
        run MLP -i x=in.npz:x --passes ternarize-features{threshold=nan}
        run MLP -i x=in.npz:x --passes ternarize-states{hidden=odd}
        run MLP -i x=in.npz:x --passes ternarize-states{seed=-1}
        run MLP -i x=in.npz:x --passes open-recurrent{weights=odd}
        run MLP -i x=in.npz:x --ternarize nothing
        run MLP -i x=in.npz:x --states odd
        run MLP -i x=in.npz:x --states keep{slope=0}
        run MLP -i x=in.npz:x --features odd
        opt MLP --print-ir-after nothing
        opt MLP -o model.txt
        compile MLP -o build --target zx81
        compile MLP -o build --name 2nd
        compile MLP -o build --backend interpret
        compile MLP -o build --emit exe
        generate LM
        generate LM --prompt a -n many
        generate LM --prompt a --temperature -1
        generate LM --prompt a --temperature nan
        generate LM --prompt a --temperature 1 --top-p 2
        generate LM --prompt a --temperature 1 --top-p nan
        bench MLP --dim batch
        bench MLP --dim bach=2
        bench MLP --dim batch=-1
        bench MLP --seconds nan
        bench MLP --seconds -1
        perplexity LM
        perplexity LM --text text.txt --context 0
        accuracy MLP
        features RNN
        ternarize MLP -o out
        ternarize MLP --method nothing -o out
        ternarize MLP --method twn
        ternarize MLP --method twn --keep nothing* -o out
        ternarize MLP --method twn --format tar -o out
        list
        list nothing
        ",
    );
}

/// Numbers that are not finite are as good as others to a program that computes.
#[test]
fn what_works_is_0() {
    let setting = Setting::new();
    for line in
        ["run MLP -i x=in.npz:nan", "run MLP -i x=in.npz:x -O0", "list passes", "inspect MLP", "--version"]
    {
        let (code, said) = setting.run(line);
        assert_eq!(code, Some(0), "{line}: {said}");
    }
}

#[test]
fn names_of_a_megabyte_are_told_in_a_screen() {
    let setting = Setting::new();
    let name = "n".repeat(1 << 20);
    let text = format!("graph @main(%x: f32[2]) -> (%{name}: f32[3]) {{\n  %{name} = tanh %x : f32[3]\n}}\n");
    std::fs::write(setting.0.path().join("long.ir"), text).unwrap();
    let (code, stderr) = setting.run("inspect long.ir");
    assert_eq!(code, Some(1));
    assert!(stderr.len() < 4000 && stderr.contains("are left out"), "{} bytes", stderr.len());
}

#[test]
fn a_reader_that_leaves_early_is_no_error() {
    let mut child = command(&["opt", &model("lm/f32.onnx"), "-O0"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let [_, said] = printed(child.wait_with_output().unwrap());
    assert_eq!(said, "");
}
