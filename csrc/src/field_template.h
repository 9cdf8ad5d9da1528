/* The portable vector functions of one field, compiled once per field (and over tiny primes by the exhaustive tests).
 *
 * Defined by the includer: FE(name), the prefixed name; FE_P; FE_BITS; FE_TERMS, the number of products that an FE(acc)
 * holds after a fold; and FE(add), FE(sub), FE(mul), FE(acc), FE(acc_add), FE(acc_fold), FE(acc_reduce).
 * Everything here is constant time in the values as long as those are.
 */
#define FE_FUNCTION static __attribute__((unused)) /* a SIMD twin takes some and replaces others */

FE_FUNCTION uint64_t FE(add_out)(uint64_t a, uint64_t b) { return FE(add)(a, b); }
FE_FUNCTION uint64_t FE(sub_out)(uint64_t a, uint64_t b) { return FE(sub)(a, b); }
FE_FUNCTION uint64_t FE(mul_out)(uint64_t a, uint64_t b) { return FE(mul)(a, b); }

FE_FUNCTION void FE(add_n)(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = FE(add)(a[i], b[i]);
}

FE_FUNCTION void FE(sub_n)(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = FE(sub)(a[i], b[i]);
}

FE_FUNCTION void FE(mul_n)(uint64_t *out, const uint64_t *a, const uint64_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = FE(mul)(a[i], b[i]);
}

FE_FUNCTION void FE(axpy_n)(uint64_t *out, uint64_t alpha, const uint64_t *x, const uint64_t *y, size_t n)
{
    for (size_t i = 0; i < n; i++) out[i] = FE(add)(FE(mul)(alpha, x[i]), y[i]);
}

FE_FUNCTION uint64_t FE(dot)(const uint64_t *a, const uint64_t *b, size_t n)
{
    FE(acc) s = {0};
    while (n > 0) {
        size_t m = n < FE_TERMS ? n : FE_TERMS;
        for (size_t i = 0; i < m; i++) FE(acc_add)(&s, a[i], b[i]);
        FE(acc_fold)(&s);
        a += m, b += m, n -= m;
    }
    return FE(acc_reduce)(&s);
}

FE_FUNCTION void FE(butterfly)(uint64_t *sum, uint64_t *diff, const uint64_t *a, const uint64_t *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        uint64_t u = a[i], v = b[i];
        sum[i] = FE(add)(u, v);
        diff[i] = FE(sub)(u, v);
    }
}

FE_FUNCTION int FE(canonical)(const uint64_t *a, size_t n)
{
    uint64_t bad = 0;
    for (size_t i = 0; i < n; i++) bad |= (uint64_t)(a[i] >= FE_P);
    PC_DECLASSIFY(bad);
    return bad == 0;
}

FE_FUNCTION int FE(sample)(uint64_t *v, size_t n)
{
    uint64_t bad = 0;
    for (size_t i = 0; i < n; i++) {
        v[i] = PC_LE64(v[i]) >> (64 - FE_BITS);
        bad |= (uint64_t)(v[i] >= FE_P);
    }
    PC_DECLASSIFY(bad); /* says only whether some candidate has to be drawn again */
    return bad != 0;
}

/* Four sums per column: one load of in[k][i] serves four rows. */
FE_FUNCTION void FE(dot_rows)(uint64_t *const *out, size_t rows, const uint64_t *weights, size_t terms, const uint64_t *in,
                         size_t stride, size_t width, uint64_t *prepared)
{
    if (rows < FIELD_ROWS) {
        for (size_t r = 0; r < rows; r++) {
            for (size_t i = 0; i < width; i++) {
                FE(acc) s = {0};
                for (size_t from = 0; from < terms; from += FE_TERMS) {
                    size_t to = terms - from < FE_TERMS ? terms : from + FE_TERMS;
                    for (size_t k = from; k < to; k++) FE(acc_add)(&s, in[k * stride + i], weights[r * terms + k]);
                    FE(acc_fold)(&s);
                }
                out[r][i] = FE(acc_reduce)(&s);
            }
        }
        return;
    }
    for (size_t k = 0; k < terms; k++)
        for (size_t r = 0; r < FIELD_ROWS; r++) prepared[FIELD_ROWS * k + r] = weights[r * terms + k];
    for (size_t i = 0; i < width; i++) {
        FE(acc) s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0};
        for (size_t from = 0; from < terms; from += FE_TERMS) {
            size_t to = terms - from < FE_TERMS ? terms : from + FE_TERMS;
            for (size_t k = from; k < to; k++) {
                const uint64_t v = in[k * stride + i], *w = prepared + FIELD_ROWS * k;
                FE(acc_add)(&s0, v, w[0]);
                FE(acc_add)(&s1, v, w[1]);
                FE(acc_add)(&s2, v, w[2]);
                FE(acc_add)(&s3, v, w[3]);
            }
            FE(acc_fold)(&s0), FE(acc_fold)(&s1), FE(acc_fold)(&s2), FE(acc_fold)(&s3);
        }
        out[0][i] = FE(acc_reduce)(&s0);
        out[1][i] = FE(acc_reduce)(&s1);
        out[2][i] = FE(acc_reduce)(&s2);
        out[3][i] = FE(acc_reduce)(&s3);
    }
}

/* The members that every level shares, then those that a level may replace. */
#define FE_SCALAR .p = FE_P, .bits = FE_BITS, .add = FE(add_out), .sub = FE(sub_out), .mul = FE(mul_out)
#define FE_VECTOR                                                                                                  \
    .add_n = FE(add_n), .sub_n = FE(sub_n), .mul_n = FE(mul_n), .axpy_n = FE(axpy_n), .dot = FE(dot),              \
    .butterfly = FE(butterfly), .canonical = FE(canonical), .sample = FE(sample), .dot_rows = FE(dot_rows)
