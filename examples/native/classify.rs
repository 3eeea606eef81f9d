// Classifies samples of float32 from standard input with a native network, and prints the names of their classes.
//
//   striate export runs/digits --native -o net/
//   rustc -O examples/native/classify.rs -C link-arg=net/net.o -o classify
//   ./classify < samples.f32
use std::alloc::{alloc_zeroed, handle_alloc_error, Layout};
use std::ffi::{c_char, c_void, CStr};
use std::io::{stdin, Read};

extern "C" {
    fn net_run_batch(
        count: i32, input: *const f32, output: *mut f32, scratch: *mut c_void, parallel: *const c_void,
    ) -> i32;
    fn net_scratch_size(threads: i32) -> usize;
    fn net_alignment() -> i32;
    fn net_input_size() -> i32;
    fn net_output_size() -> i32;
    fn net_class_name(number: i32) -> *const c_char;
    fn net_status_text(status: i32) -> *const c_char;
}

/// The text that a function of the network returned, or None.
fn text(pointer: *const c_char) -> Option<String> {
    // The texts are constants of the network, so they live as long as the program.
    (!pointer.is_null()).then(|| unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned())
}

fn main() {
    let mut bytes = Vec::new();
    stdin().read_to_end(&mut bytes).expect("standard input can be read");
    let numbers: Vec<f32> = bytes.chunks_exact(4).map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]])).collect();
    let (inputs, outputs) = unsafe { (net_input_size() as usize, net_output_size() as usize) };
    let layout = Layout::from_size_align(unsafe { net_scratch_size(1) }, unsafe { net_alignment() } as usize).unwrap();
    let scratch = unsafe { alloc_zeroed(layout) };
    if scratch.is_null() {
        handle_alloc_error(layout);
    }
    let mut scores = vec![0.0f32; outputs];
    for sample in numbers.chunks_exact(inputs) {
        // The buffers have the sizes that the network told; without a parallel loop it runs on this thread.
        let status = unsafe {
            net_run_batch(1, sample.as_ptr(), scores.as_mut_ptr(), scratch.cast(), std::ptr::null())
        };
        if status != 0 {
            panic!("{}", text(unsafe { net_status_text(status) }).unwrap_or_default());
        }
        let best = (1..outputs).fold(0, |best, i| if scores[i] > scores[best] { i } else { best });
        println!("{}", text(unsafe { net_class_name(best as i32) }).unwrap_or(format!("class {best}")));
    }
}
