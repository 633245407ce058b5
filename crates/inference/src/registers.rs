//! Runs a plan, and puts in order after each node what tract's kernels leave behind in the processor.
//!
//! Those of tract-linalg 0.23.9 for AVX and AVX-512 return with the upper halves of the vector registers in use. Until these are
//! cleared, every instruction of SSE, which is what Rust makes for any x86-64, keeps them as they are, and so waits for
//! what was in its register before: rounding 8,000 numbers took 29.7 us behind a matrix product, and takes 5.1. This goes for
//! all that runs on the thread afterwards, not for tract alone. Between the steps of a recurrent layer, which are one node,
//! nothing is cleared. It can go when tract's kernels end with `vzeroupper`.

use tract_onnx::prelude::{TValue, TVec, TractResult, TypedSimpleState};
use tract_onnx::tract_core::plan::eval;

/// Runs a model's plan.
pub(crate) fn run(state: &mut TypedSimpleState, inputs: TVec<TValue>) -> TractResult<TVec<TValue>> {
    state.run_plan_with_eval(inputs, |context, own, node, inputs| {
        let answers = eval(context, own, node, inputs);
        clear_upper_halves();
        answers
    })
}

/// A cycle or four; processors without AVX have none to clear.
#[cfg(target_arch = "x86_64")]
fn clear_upper_halves() {
    if std::arch::is_x86_feature_detected!("avx") {
        #[expect(
            unsafe_code,
            reason = "the one way to this instruction; it needs AVX, which has been asked for, and takes nothing from code that is \
                      compiled for SSE, whose registers are the lower halves"
        )]
        // SAFETY: the processor has AVX.
        unsafe {
            std::arch::x86_64::_mm256_zeroupper();
        }
    }
}

#[cfg(not(target_arch = "x86_64"))]
const fn clear_upper_halves() {}

#[cfg(all(test, target_arch = "x86_64"))]
mod tests {
    use super::*;
    use tract_onnx::tract_core::internal::*;
    use tract_onnx::tract_core::ops::einsum::EinSum;

    /// Whether the upper halves are in use on this thread, by what the processor would have to save of them.
    fn in_use() -> bool {
        #[target_feature(enable = "xsave")]
        fn of_this_thread() -> u64 {
            #[expect(unsafe_code, reason = "an instruction; who calls it has asked for it")]
            // SAFETY: the processor has XGETBV and this register of it.
            unsafe {
                std::arch::x86_64::_xgetbv(1)
            }
        }
        #[expect(unsafe_code, reason = "a function for XSAVE is called where there is XSAVE")]
        // SAFETY: AVX, without which nothing is in use, needs XSAVE.
        let states = unsafe { of_this_thread() };
        states & 0b100 != 0
    }

    #[test]
    fn nothing_is_left_behind_a_matrix_product() {
        // XGETBV of register 1 came with XSAVEC.
        if !std::arch::is_x86_feature_detected!("avx") || !std::arch::is_x86_feature_detected!("xsavec") {
            eprintln!("SKIPPED: the processor can't tell");
            return;
        }
        let mut model = TypedModel::default();
        let x = model.add_source("x", f32::fact([64, 64])).unwrap();
        let weights = Tensor::from_shape(&[64, 64], &[0.5_f32; 64 * 64]).unwrap();
        let weights = model.add_const("weights", weights.clone()).unwrap();
        let product = EinSum::new("mk,kn->mn".parse().unwrap(), f32::datum_type());
        let y = model.wire_node("y", product, &[x, weights]).unwrap();
        model.select_output_outlets(&y).unwrap();
        let plan = model.into_optimized().unwrap().into_runnable().unwrap();
        let input = || tvec![Tensor::from_shape(&[64, 64], &[0.25_f32; 64 * 64]).unwrap().into()];
        let mut state = plan.spawn().unwrap();
        let bare = state.run(input()).unwrap();
        if !in_use() {
            eprintln!("SKIPPED: tract's kernel for this processor leaves nothing behind");
            return;
        }
        let ours = run(&mut state, input()).unwrap();
        assert!(!in_use());
        assert_eq!(ours, bare);
    }
}
