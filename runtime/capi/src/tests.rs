//! What C may do wrong is a status with a text; what it does right has the runtime's results.

use std::ffi::{CStr, CString, c_char};
use std::mem::{MaybeUninit, zeroed};
use std::ptr::{null, null_mut};
use std::sync::Arc;

use trine_runtime::code::Code;
use trine_runtime::{
    Buffer, Elem, Kernel, Parts, Place, Plan, Port, Program, Size, State, Step, StepKind, Type,
};

use crate::model::*;
use crate::session::*;
use crate::states::*;
use crate::status::*;
use crate::{trine_abi_version, trine_version};

const HEADER: &str = include_str!("../include/trine.h");

/// `now` is `past` and after it `x`, and `sum` the sum of all.
unsafe extern "C" fn append(args: *const *mut u8, dims: *const i64, _: i64, _: i64) -> i64 {
    // SAFETY: the program below says what there is: four arrays, and the sizes `s`, `p` and the capacity.
    unsafe {
        let [x, past, now, sum] = [0, 1, 2, 3].map(|i| (*args.add(i)).cast::<f32>());
        let (s, p) = (*dims as usize, *dims.add(1) as usize);
        if past != now {
            past.copy_to_nonoverlapping(now, p);
        }
        x.copy_to_nonoverlapping(now.add(p), s);
        *sum = (0..p + s).map(|i| *now.add(i)).sum();
    }
    0
}

fn program() -> Program {
    let symbols: Vec<Arc<str>> = vec!["s".into(), "p".into()];
    let ty = |text: &str| Type::parse(text).unwrap();
    let port = |name: &str, text, place| Port::new(name.into(), ty(text), &symbols, place).unwrap();
    let buffer = |text| Buffer::new(ty(text), &symbols).unwrap();
    let none = || Size::constant(0);
    let kernel = Kernel {
        name: "append".into(),
        function: append as trine_runtime::KernelFn,
        scratch_shared: none(),
        scratch_part: none(),
        work: none(),
        operations: none(),
        bytes: none(),
    };
    let step = Step {
        kind: StepKind::Kernel(0),
        node: None,
        args: vec![Some(Place::Input(0)), Some(Place::Input(1))],
        results: vec![Place::Buffer(0), Place::Buffer(1)],
        place: "append".into(),
    };
    let plan = Plan {
        symbols: symbols.clone(),
        derived: vec![],
        requires: vec![],
        inputs: vec![port("x", "f32[s]", Place::Input(0)), port("past", "f32[p]", Place::Input(1))],
        outputs: vec![port("now", "f32[p+s]", Place::Buffer(0)), port("sum", "f32[1]", Place::Buffer(1))],
        buffers: vec![buffer("f32[p+s]"), buffer("f32[1]")],
        slots: 0,
        kernels: vec![kernel],
        steps: vec![step],
        states: vec![State { input: 1, output: 0, axis: Some(0) }],
    };
    let code = Code::load(&[], []).unwrap();
    let parts = Parts { plan, consts: vec![], code, module: Default::default() };
    // SAFETY: the kernel touches its operands and results as long as they are.
    unsafe { Program::new(parts) }.unwrap()
}

fn model() -> Box<Model> {
    Box::new(Model::new(program()).ok().unwrap())
}

/// A session of `model` that holds so many positions.
fn session(model: &Model, state_capacity: usize) -> Box<Handle> {
    let size = size_of::<TrineSessionOptions>();
    let options = TrineSessionOptions { size, threads: 1, state_capacity };
    // SAFETY: the options are as long as they say.
    let made = out(|to, error| unsafe { trine_session_open(Some(model), &options, to, error) });
    made.unwrap().unwrap()
}

/// What a call of one result set, or its status and text.
fn out<T>(call: impl FnOnce(Out<T>, ErrorOut) -> i32) -> Result<T, (i32, String)> {
    let mut value = MaybeUninit::zeroed();
    // SAFETY: all results have a value of zeros: integers, pointers, and boxes that are not there.
    done(|error| call(Some(&mut value), error)).map(|()| unsafe { value.assume_init() })
}

/// Nothing, or the status and text of a call.
fn done(call: impl FnOnce(ErrorOut) -> i32) -> Result<(), (i32, String)> {
    let mut error = MaybeUninit::<TrineError>::uninit();
    let status = call(Some(&mut error));
    // SAFETY: each call writes it.
    let error = unsafe { error.assume_init() };
    assert_eq!(status, error.status);
    // SAFETY: it ends with a zero, as the tests of it say.
    let text = unsafe { CStr::from_ptr(error.text.as_ptr()) }.to_str().unwrap().to_string();
    assert_eq!(text.is_empty(), status == OK);
    if status == OK { Ok(()) } else { Err((status, text)) }
}

fn set(session: &mut Handle, name: &str, elem: i32, dims: &[i64], x: &[f32]) -> Result<(), (i32, String)> {
    let (name, data) = (CString::new(name).unwrap(), x.as_ptr().cast());
    // SAFETY: all of it is there until the run that follows.
    done(|error| unsafe {
        let (rank, size) = (dims.len(), size_of_val(x));
        trine_session_set_input(Some(session), name.as_ptr(), elem, dims.as_ptr(), rank, data, size, error)
    })
}

fn run(session: &mut Handle, x: &[f32]) -> Result<f32, (i32, String)> {
    set(session, "x", 1, &[x.len() as i64], x)?;
    done(|error| trine_session_run(Some(session), error))?;
    sum(session)
}

fn sum(session: &mut Handle) -> Result<f32, (i32, String)> {
    // SAFETY: the name is a text, and a tensor that was set holds one number.
    let tensor = out(|to, error| unsafe { trine_session_output(Some(session), c"sum".as_ptr(), to, error) })?;
    Ok(unsafe { *(*tensor).data.cast() })
}

fn save(session: &mut Handle) -> Vec<u8> {
    // SAFETY: a buffer that is NULL asks for the size.
    let size =
        out(|to, error| unsafe { trine_session_save(Some(session), null_mut(), 0, to, error) }).unwrap();
    let mut bytes = vec![0; size];
    // SAFETY: it has room for so many.
    let call = |to: Out<usize>, error: ErrorOut| unsafe {
        trine_session_save(Some(session), bytes.as_mut_ptr(), size, to, error)
    };
    assert_eq!(out(call), Ok(size));
    bytes
}

fn restore(session: &mut Handle, bytes: &[u8]) -> Result<(), (i32, String)> {
    // SAFETY: the bytes are there.
    done(|error| unsafe { trine_session_restore(Some(session), bytes.as_ptr(), bytes.len(), error) })
}

fn argument(text: &str) -> Result<(), (i32, String)> {
    Err((ARGUMENT, text.into()))
}

#[test]
fn states_are_held_saved_restored_and_forked() {
    let model = model();
    let mut first = session(&model, 8);
    assert_eq!(run(&mut first, &[1.0, 2.0]), Ok(3.0));
    let saved = save(&mut first);
    let mut fork = out(|to, error| trine_session_fork(Some(&mut first), to, error)).unwrap().unwrap();
    assert_eq!((run(&mut first, &[4.0]), run(&mut fork, &[8.0])), (Ok(7.0), Ok(11.0)));
    let mut other = session(&model, 3);
    // Sessions outlive their model.
    trine_model_close(Some(model));
    assert_eq!(restore(&mut other, &saved), Ok(()));
    assert_eq!((trine_session_filled(Some(&other)), run(&mut other, &[16.0])), (2, Ok(19.0)));
    let (status, text) = run(&mut other, &[1.0]).unwrap_err();
    assert_eq!((status, &text[..]), (STATE, "the state holds 3 positions, 4 are needed"));
    let text = "there are no outputs: the last run failed, or there was none".to_string();
    assert_eq!(sum(&mut other), Err((ARGUMENT, text)));
    let full = save(&mut first);
    let (status, text) = restore(&mut session(&self::model(), 2), &full).unwrap_err();
    assert_eq!(status, STATE);
    assert_eq!(text, "the saved state `past` does not fit: 3 positions, and room for 2");
    done(|error| trine_session_truncate(Some(&mut first), 1, error)).unwrap();
    assert_eq!(run(&mut first, &[0.5]), Ok(1.5));
    done(|error| trine_session_reset(Some(&mut first), error)).unwrap();
    assert_eq!((trine_session_filled(Some(&first)), run(&mut first, &[5.0])), (0, Ok(5.0)));
    [first, fork, other].into_iter().for_each(|session| trine_session_close(Some(session)));
}

#[test]
fn states_may_be_inputs_and_outputs() {
    let model = model();
    let mut plain = session(&model, 0);
    let (x, past) = ([1.0, 2.0], [4.0]);
    set(&mut plain, "x", 1, &[2], &x).unwrap();
    let (status, text) = done(|error| trine_session_run(Some(&mut plain), error)).unwrap_err();
    assert_eq!((status, &text[..]), (INPUT, "input `past` is not given"));
    // A run that failed forgot what it was given.
    set(&mut plain, "past", 1, &[1], &past).unwrap();
    let (_, text) = done(|error| trine_session_run(Some(&mut plain), error)).unwrap_err();
    assert_eq!(text, "input `x` is not given");
    set(&mut plain, "past", 1, &[1], &past).unwrap();
    set(&mut plain, "x", 1, &[2], &x).unwrap();
    done(|error| trine_session_run(Some(&mut plain), error)).unwrap();
    let mut copied = [0f32; 4];
    let mut copy = |name: &CStr, capacity: usize| {
        let (name, to) = (name.as_ptr(), copied.as_mut_ptr().cast());
        let mut size = MaybeUninit::new(0);
        // SAFETY: there is room for 16 bytes.
        let call = |error: ErrorOut| unsafe {
            trine_session_copy_output(Some(&mut plain), name, to, capacity, Some(&mut size), error)
        };
        let result = done(call);
        // SAFETY: it was set above.
        (result, unsafe { size.assume_init() })
    };
    let small = (BUFFER, "`buffer` has 11 bytes, and 12 are needed".to_string());
    assert_eq!(copy(c"now", 11), (Err(small), 12));
    assert_eq!(copy(c"now", 16), (Ok(()), 12));
    assert_eq!(copy(c"then", 16).0, argument("no output `then`; there are `now`, `sum`"));
    assert_eq!(copied, [4.0, 1.0, 2.0, 0.0]);
    // SAFETY: the name is a text.
    let tensor =
        out(|to, error| unsafe { trine_session_output(Some(&mut plain), c"now".as_ptr(), to, error) });
    // SAFETY: it was set, and points to as many sizes as it says.
    let (rank, dim, name) = unsafe {
        let tensor = &*tensor.unwrap();
        (tensor.rank, *tensor.dims, CStr::from_ptr(tensor.name))
    };
    assert_eq!((rank, dim, name), (1, 3, c"now"));
}

#[test]
fn what_is_no_input_is_refused() {
    let model = model();
    let mut held = session(&model, 4);
    let mut refused =
        |name: &str, elem, dims: &[i64], x: &[f32]| set(&mut held, name, elem, dims, x).unwrap_err();
    let input = |text: &str| (INPUT, text.to_string());
    assert_eq!(refused("y", 1, &[1], &[0.0]), input("no input `y`; there are `x`"));
    assert_eq!(refused("past", 1, &[1], &[0.0]), input("no input `past`; there are `x`"));
    assert_eq!(refused("x", 7, &[1], &[0.0]), input("input `x` is f32[s], got i64 of rank 1"));
    assert_eq!(refused("x", 1, &[1, 1], &[0.0]), input("input `x` is f32[s], got f32 of rank 2"));
    assert_eq!(refused("x", 1, &[-1], &[0.0]), input("input `x`: axis 0 has -1 elements"));
    assert_eq!(refused("x", 1, &[2], &[0.0]), input("input `x` is f32[s], got f32[2] of 4 bytes"));
    assert_eq!(refused("x", 1, &[i64::MAX], &[0.0]).0, INPUT);
    assert_eq!(refused("x", 8, &[1], &[0.0]), (ARGUMENT, "`elem` is 8, which is not a type".into()));
    // None of them is left for the run.
    let (_, text) = done(|error| trine_session_run(Some(&mut held), error)).unwrap_err();
    assert_eq!(text, "input `x` is not given");
    let mut call = |name: *const c_char, dims: *const i64, rank, data: *const u8, size| {
        // SAFETY: what is not NULL is there.
        done(|error| unsafe {
            trine_session_set_input(Some(&mut held), name, 1, dims, rank, data, size, error)
        })
    };
    let (x, dims, name) = ([0u8; 4], [1i64], c"x".as_ptr());
    assert_eq!(call(null(), dims.as_ptr(), 1, x.as_ptr(), 4), argument("`name` is NULL"));
    assert_eq!(call(c"\xff".as_ptr(), dims.as_ptr(), 1, x.as_ptr(), 4), argument("`name` is not UTF-8"));
    assert_eq!(call(name, null(), 1, x.as_ptr(), 4), argument("`dims` is NULL"));
    assert_eq!(call(name, dims.as_ptr(), 1, null(), 4), argument("`data` is NULL"));
    let long = argument("`data` is not aligned, or longer than memory");
    assert_eq!(call(name, dims.as_ptr(), 1, x.as_ptr(), usize::MAX), long);
    assert_eq!(call(name, [0i64].as_ptr(), 1, null(), 0), Ok(()));
}

#[test]
fn null_is_refused() {
    let model = model();
    let mut one = session(&model, 4);
    let name = c"sum".as_ptr();
    // SAFETY: NULL is what it is about; the rest is there.
    unsafe {
        let no_model = argument("`model` is NULL");
        assert_eq!(
            out(|to, e| trine_model_open(null(), null(), to, e)).err(),
            argument("`path` is NULL").err()
        );
        assert_eq!(done(|e| trine_model_open(c"x".as_ptr(), null(), None, e)), no_model);
        let open = |to: Out<_>, e: ErrorOut| trine_model_open_memory(null(), 4, null(), to, e);
        assert_eq!(out(open).err(), argument("`bytes` is NULL").err());
        assert_eq!(done(|e| trine_model_open_memory([1].as_ptr(), 1, null(), None, e)), no_model);
        assert_eq!(out(|to, e| trine_session_open(None, null(), to, e)).err(), no_model.clone().err());
        let no_session = argument("`session` is NULL");
        assert_eq!(done(|e| trine_session_open(Some(&model), null(), None, e)), no_session);
        assert_eq!(out(|to, e| trine_session_output(None, name, to, e)).err(), no_session.clone().err());
        let tensor = argument("`tensor` is NULL");
        assert_eq!(done(|e| trine_session_output(Some(&mut one), name, None, e)), tensor);
        let copy = |e: ErrorOut| trine_session_copy_output(None, name, null_mut(), 0, None, e);
        assert_eq!(done(copy), no_session);
        assert_eq!(
            done(|e| trine_session_save(Some(&mut one), null_mut(), 0, None, e)),
            argument("`size` is NULL")
        );
        assert_eq!(
            done(|e| trine_session_restore(Some(&mut one), null(), 9, e)),
            argument("`bytes` is NULL")
        );
        let set = |e: ErrorOut| trine_session_set_input(None, name, 1, null(), 0, null(), 0, e);
        assert_eq!(done(set), no_session);
        for call in [trine_session_run, trine_session_reset] {
            assert_eq!(done(|e| call(None, e)), no_session);
        }
        assert_eq!(done(|e| trine_session_truncate(None, 0, e)), no_session);
        assert_eq!(out(|to, e| trine_session_fork(None, to, e)).err(), no_session.err());
        assert_eq!(done(|e| trine_session_fork(Some(&mut one), None, e)), argument("`fork` is NULL"));
        // An error's text need not be wanted, and a pointer that was not set is NULL.
        let mut port = MaybeUninit::new(null());
        assert_eq!(trine_model_input(Some(&model), 2, Some(&mut port), None), ARGUMENT);
        assert!(port.assume_init().is_null());
    }
    assert_eq!(out(|to, e| trine_model_input(None, 0, to, e)).err(), argument("`model` is NULL").err());
    assert_eq!(done(|e| trine_model_output(Some(&model), 0, None, e)), argument("`port` is NULL"));
    assert_eq!((trine_model_input_count(None), trine_model_output_count(None)), (0, 0));
    assert_eq!(trine_session_filled(None), 0);
    trine_model_close(None);
    trine_session_close(None);
}

#[test]
fn signatures_say_what_there_is() {
    let model = model();
    assert_eq!((trine_model_input_count(Some(&model)), trine_model_output_count(Some(&model))), (2, 2));
    let read = |port: *const TrinePort| {
        // SAFETY: the model is there.
        unsafe {
            let port = &*port;
            let texts = (0..port.rank).map(|i| CStr::from_ptr(*port.dim_texts.add(i)).to_str().unwrap());
            let dims = std::slice::from_raw_parts(port.dims, port.rank);
            let name = CStr::from_ptr(port.name).to_str().unwrap();
            (name, port.elem, dims, texts.collect::<Vec<_>>(), port.state, port.position_axis)
        }
    };
    let input = |i| out(|to, error| trine_model_input(Some(&model), i, to, error)).map(read);
    let output = |i| out(|to, error| trine_model_output(Some(&model), i, to, error)).map(read);
    assert_eq!(input(0), Ok(("x", 1, &[-1][..], vec!["s"], -1, -1)));
    assert_eq!(input(1), Ok(("past", 1, &[-1][..], vec!["p"], 0, 0)));
    assert_eq!(output(0), Ok(("now", 1, &[-1][..], vec!["p+s"], 1, 0)));
    assert_eq!(output(1), Ok(("sum", 1, &[1][..], vec!["1"], -1, -1)));
    assert_eq!(input(2).unwrap_err(), (ARGUMENT, "`index` is 2, and there are 2 inputs".into()));
    assert_eq!(output(9).unwrap_err(), (ARGUMENT, "`index` is 9, and there are 2 outputs".into()));
}

/// Callers that were built before know fewer options, and those that were built later more.
#[test]
fn options_may_grow() {
    let model = model();
    let open = |words: &[usize]| {
        // SAFETY: it is as long as it says, or says what is refused before it is read.
        let call = |to: Out<_>, error: ErrorOut| unsafe {
            trine_session_open(Some(&model), words.as_ptr().cast(), to, error)
        };
        out(call).map(|session: Option<Box<Handle>>| session.unwrap().session.threads())
    };
    assert_eq!(open(&[8]), Ok(1));
    assert_eq!(open(&[16, 2]), Ok(2));
    assert_eq!(open(&[24, 3, 4]), Ok(3));
    assert_eq!(open(&[32, 3, 4, 0]), Ok(3));
    let text = "`options` has what only a later version of Trine knows";
    assert_eq!(open(&[32, 3, 4, 1]), Err((ARGUMENT, text.into())));
    let text = |size: usize| format!("`options` has size {size}, which its first field has to say");
    assert_eq!(open(&[0, 0, 0]), Err((ARGUMENT, text(0))));
    assert_eq!(open(&[usize::MAX, 0, 0]), Err((ARGUMENT, text(usize::MAX))));
}

#[test]
fn what_is_no_model_is_refused() {
    let size = size_of::<TrineOpenOptions>();
    let open = |path: &CStr, weights, skip_weight_check| {
        let options = TrineOpenOptions { size, weights, skip_weight_check };
        // SAFETY: the path is a text.
        let opened = out(|to, error| unsafe { trine_model_open(path.as_ptr(), &options, to, error) });
        opened.map(drop).unwrap_err()
    };
    let (status, text) = open(c"/there/is/no.trine", 0, 0);
    assert!(status == FILE && text.starts_with("it cannot be read: "), "{text}");
    let text = "`options` has weights 3: 0, 1 or 2 is".to_string();
    assert_eq!(open(c"no.trine", 3, 0), (ARGUMENT, text));
    let text = "`options` has skip_weight_check 2: 0 or 1 is".to_string();
    assert_eq!(open(c"no.trine", 0, 2), (ARGUMENT, text));
    for bytes in [&b"{}"[..], &[0; 4096]] {
        // SAFETY: the bytes are there.
        let call = |to: Out<Option<Box<Model>>>, error: ErrorOut| unsafe {
            trine_model_open_memory(bytes.as_ptr(), bytes.len(), null(), to, error)
        };
        assert_eq!(out(call).map(drop), Err((FILE, "it is not a `.trine` file".into())));
    }
}

#[test]
fn damaged_states_are_refused() {
    let model = model();
    let mut one = session(&model, 4);
    run(&mut one, &[1.0]).unwrap();
    let good = save(&mut one);
    for bit in 0..8 * good.len() {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(restore(&mut one, &bad).unwrap_err().0, STATE);
    }
    assert_eq!(run(&mut one, &[2.0]), Ok(3.0));
    let mut small = [0; 4];
    let mut size = MaybeUninit::new(0);
    // SAFETY: there is room for four bytes.
    let call = |error: ErrorOut| unsafe {
        trine_session_save(Some(&mut one), small.as_mut_ptr(), 4, Some(&mut size), error)
    };
    let (status, text) = done(call).unwrap_err();
    // SAFETY: it was set above.
    let size = unsafe { size.assume_init() };
    assert_eq!((status, text), (BUFFER, format!("`buffer` has 4 bytes, and {size} are needed")));
}

#[test]
fn a_panic_is_a_status_and_ends_its_session() {
    let model = model();
    let mut one = session(&model, 4);
    let (status, text) = done(|error| with(Some(&mut one), error, |_| panic!("it is {}", 7))).unwrap_err();
    assert_eq!((status, &text[..]), (INTERNAL, "a defect of Trine: it is 7"));
    let text =
        "a call of this session ended in a defect of Trine; the session can only be closed".to_string();
    assert_eq!(run(&mut one, &[1.0]), Err((INTERNAL, text)));
    trine_session_close(Some(one));
    assert_eq!(run(&mut session(&model, 4), &[1.0]), Ok(1.0));
}

#[test]
fn texts_fit() {
    let said = |text: &str| done(|error| answer(error, || Err(Failure::argument(text)))).unwrap_err().1;
    assert_eq!(said("a\0b"), "a\u{fffd}b");
    assert_eq!(said(&"x".repeat(TEXT - 1)), "x".repeat(TEXT - 1));
    let long = said(&"ä".repeat(TEXT));
    assert_eq!(long, "ä".repeat((TEXT - 4) / 2) + "...");
}

/// The header declares what the library has, by the same numbers.
#[test]
fn the_header_is_of_this_library() {
    let sources = [
        include_str!("elem.rs"),
        include_str!("lib.rs"),
        include_str!("model.rs"),
        include_str!("session.rs"),
        include_str!("states.rs"),
        include_str!("status.rs"),
    ];
    let name = |rest: &str| rest.split('(').next().unwrap().to_string();
    let split = sources.iter().flat_map(|text| text.split("extern \"C\" fn ").skip(1));
    let mut defined: Vec<String> = split.map(name).filter(|name| name.starts_with("trine_")).collect();
    let lines = HEADER.lines().filter(|line| !line.starts_with([' ', '/', '#', '}']) && line.contains('('));
    let words = lines.flat_map(|line| line.split([' ', '*']));
    let mut declared: Vec<String> =
        words.filter(|word| word.starts_with("trine_") && word.contains('(')).map(name).collect();
    defined.sort();
    declared.sort();
    assert!(defined.len() > 20);
    assert_eq!(declared, defined);
    for status in 0..10 {
        // SAFETY: names are texts.
        let name = unsafe { CStr::from_ptr(trine_status_name(status)) }.to_str().unwrap();
        assert!(HEADER.contains(&format!("    {name} = {status}")), "{name}");
    }
    // SAFETY: as above.
    let unknown = unsafe { CStr::from_ptr(trine_status_name(10)) };
    assert_eq!(unknown, c"TRINE_UNKNOWN");
    for elem in Elem::ALL {
        let (code, name) = (crate::elem::code(elem), elem.name().to_uppercase());
        assert!(HEADER.contains(&format!("    TRINE_{name} = {code}")), "{name}");
    }
    assert!(HEADER.contains(&format!("#define TRINE_ERROR_TEXT {TEXT}\n")));
    assert!(HEADER.contains(&format!("#define TRINE_ABI_VERSION {}\n", trine_abi_version())));
    // SAFETY: it is a text.
    let version = unsafe { CStr::from_ptr(trine_version()) };
    assert_eq!(version.to_str(), Ok(env!("CARGO_PKG_VERSION")));
    // SAFETY: zeros are a value of it.
    let error: TrineError = unsafe { zeroed() };
    assert_eq!((size_of_val(&error), error.status), (1024, OK));
}
