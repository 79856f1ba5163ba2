# SPDX-License-Identifier: MIT
# Model checking of flush decisions: with one hardware tag for L2 (recycled all the time) and two.
model_run() {
    gcc -O2 -std=c11 -Wall -Wextra -Werror -Iinclude -DMODEL_TAGS="$1" tests/model/tlb_model.c \
        src/tlbflush/tlbflush.c -o "$OUT/tlb_model_$1" && timeout 300 "$OUT/tlb_model_$1"
}
for tags in 1 2; do
    check "model: VMX flush decisions are sound with $tags L2 tags, each kind of flush is needed" \
        model_run "$tags" && grep -E '^sound' "$OUT"/log/model__VMX*with_"$tags"_L2*.txt | sed 's/^/        /'
done
