// The sums over the alignments of texts with steps, for the loss of connectionist temporal classification (Graves et
// al. 2006), and their gradient; and the search for the most probable texts.
//
// A text of U symbols has U + 1 blanks, before, between and behind them. An alignment begins at the first blank or the
// first symbol, ends at the last of either, and at each step stays or goes on: from a blank to the symbol behind it,
// from a symbol to the blank behind it, or to the next symbol if that differs. For each step there is a row for the
// blanks and one for the symbols, of the logs of sums over alignments up to there (forwards) or from there on
// (backwards). Places that are too far from one end for any alignment are not computed. Vectors and threads are those
// of native.cpp, which is compiled in.
//
// Letters: B texts, T steps, C classes, U symbols of the widest text.

#include "native.cpp"

#include <functional>
#include <new>
#include <vector>

namespace {

// Strides are in numbers. `wide`: log-probabilities, their gradient and nothing else are double instead of single.
struct SeqkitAlignments {
    const void* log_probs;  // (B, T, C)
    int64_t by_sequence, by_step, wide;
    const int64_t* texts;  // (B, U)
    const int64_t* lengths;  // (B,), steps
    const int64_t* counts;  // (B,), symbols
    int64_t batch, steps, classes, symbols, blank;
    const int64_t* text(int64_t b) const { return texts + b * symbols; }
    // The blanks or the symbols of a step in whole vectors, and with a vector on either side that is never reached.
    int64_t wide_row() const { return (symbols + WIDTH) / WIDTH * WIDTH; }
    int64_t row_size() const { return wide_row() + 2 * WIDTH; }
    int64_t parts() const { return std::min<int64_t>(16, batch); }
    // 0, or what is wrong: 2, a length; 3, a count or a class.
    int fault() const {
        for (int64_t b = 0; b < batch; ++b) {
            if (lengths[b] < 1 || lengths[b] > steps) return 2;
            if (counts[b] < 0 || counts[b] > symbols) return 3;
            for (int64_t u = 0; u < counts[b]; ++u)
                if (text(b)[u] < 0 || text(b)[u] >= classes) return 3;
        }
        return 0;
    }
};

// log(e^a + e^b) of finite numbers; one that is no number makes the sum none.
inline Doubles log_sum(Doubles a, Doubles b) {
    const Doubles top = a > b ? a : b, other = a > b ? b : a;
    return top + logarithm(1.0 + exponential(other - top));
}

constexpr int ROWS = 8;

// One text: its rows are walked through from one side.
template <class T>
struct Aligned {
    const SeqkitAlignments& all;
    const T* said;
    const int64_t *text, steps, count;
    double *blanks, *symbols, *blanks_before, *symbols_before;
    double *may_skip, *emissions, *sums, *shares;  // may_skip: 1 at a symbol that can come right behind the one before
    double blank = 0.0;

    Aligned(const SeqkitAlignments& all, int64_t b, double* rows)
        : all(all),
          said(static_cast<const T*>(all.log_probs) + b * all.by_sequence),
          text(all.text(b)),
          steps(all.lengths[b]),
          count(all.counts[b]) {
        const int64_t size = all.row_size();
        std::fill(rows, rows + ROWS * size, LOWEST);
        double** const places[ROWS] = {&blanks,   &symbols,   &blanks_before, &symbols_before,
                                       &may_skip, &emissions, &sums,          &shares};
        for (int64_t r = 0; r < ROWS; ++r) *places[r] = rows + r * size + WIDTH;
        std::fill(may_skip - WIDTH, may_skip - WIDTH + size, 0.0);
        for (int64_t u = 1; u < count; ++u) may_skip[u] = text[u] != text[u - 1];
    }

    // The first place, and the one behind the last, whose blank or symbol an alignment of the whole text can have at t.
    int64_t first(int64_t t) const { return std::max<int64_t>(0, count - (steps - t)); }
    int64_t beyond(int64_t t) const { return std::min(count, t) + 1; }

    double log_prob(int64_t t, int64_t c) const {
        const double p = said[t * all.by_step + c];
        return p < LOWEST ? LOWEST : p;
    }
    void read_emissions(int64_t t) {
        blank = log_prob(t, all.blank);
        for (int64_t u = first(t); u < std::min(count, beyond(t)); ++u) emissions[u] = log_prob(t, text[u]);
    }

    // `use(t)` at each step, when its rows are there. What they have outside of first to beyond means nothing.
    template <bool FORWARDS, class Use>
    void walk(Use&& use) {
        for (int64_t k = 0; k < steps; ++k) {
            const int64_t t = FORWARDS ? k : steps - 1 - k;
            read_emissions(t);
            if (k == 0) {
                blanks[FORWARDS ? 0 : count] = blank;
                if (count) symbols[FORWARDS ? 0 : count - 1] = emissions[FORWARDS ? 0 : count - 1];
            } else {
                std::swap(blanks, blanks_before);
                std::swap(symbols, symbols_before);
                FORWARDS ? advance(t) : retreat(t);
            }
            use(t);
        }
    }
    void advance(int64_t t) {
        const int64_t to = beyond(t);
        for (int64_t u = first(t) / WIDTH * WIDTH; u < to; u += WIDTH) {
            const Doubles stay = load(blanks_before + u);
            const Doubles both = log_sum(stay, load(symbols_before + u - 1));
            store<double>(blanks + u, both + blank);
            const Doubles from = load(may_skip + u) != 0.0 ? both : stay;
            store<double>(symbols + u, log_sum(load(symbols_before + u), from) + load(emissions + u));
        }
    }
    void retreat(int64_t t) {
        const int64_t from = first(t) / WIDTH * WIDTH, to = beyond(t);
        for (int64_t u = from; u <= to; u += WIDTH)  // one more than there are places: the next loop reads it
            store<double>(sums + u, log_sum(load(blanks_before + u), load(symbols_before + u)));
        for (int64_t u = from; u < to; u += WIDTH) {
            store<double>(blanks + u, load(sums + u) + blank);
            const Doubles next = load(may_skip + u + 1) != 0.0 ? load(sums + u + 1) : load(blanks_before + u + 1);
            store<double>(symbols + u, log_sum(load(symbols_before + u), next) + load(emissions + u));
        }
    }

    // Of the whole text, after the last step forwards. -inf: it has no alignment.
    double total() const {
        if (count > steps) return -INFINITY;
        const double last = blanks[count], other = count ? symbols[count - 1] : LOWEST;
        const double top = last > other ? last : other;
        const double sum = std::log(std::exp(last - top) + std::exp(other - top)) + top;
        return sum < 0.5 * LOWEST ? -INFINITY : sum;
    }

    // out (C): less `weight` times the share that each class has of all alignments at step t, given both rows of alpha.
    void add_shares(int64_t t, const double* alpha, double total, double weight, T* out) {
        const int64_t from = first(t), to = beyond(t);
        Doubles of_blanks = {};
        for (int64_t u = from / WIDTH * WIDTH; u < to; u += WIDTH) {
            Doubles share = exponential(load(alpha + u) + load(blanks + u) - (blank + total));
            for (int64_t l = 0; l < from - u; ++l) share[l] = 0.0;
            for (int64_t l = WIDTH - 1; l >= to - u; --l) share[l] = 0.0;
            of_blanks += share;
            const Doubles sum_through = load(alpha + all.wide_row() + u) + load(symbols + u) - load(emissions + u);
            store<double>(shares + u, exponential(sum_through - total));
        }
        double sum = 0.0;
        for (int64_t l = 0; l < WIDTH; ++l) sum += of_blanks[l];
        out[all.blank] -= T(weight * sum);
        for (int64_t u = from; u < std::min(count, to); ++u) out[text[u]] -= T(weight * shares[u]);
    }
};

thread_local Store store_of_rows;

// `work(b, rows)` for each text, with memory for its rows.
template <class Work>
int each_text(const SeqkitAlignments& all, int threads, Work work) {
    const int64_t parts = all.parts(), size = ROWS * all.row_size();
    double* rows = static_cast<double*>(store_of_rows.take(parts * size * sizeof(double)));
    if (!rows) return 1;
    for_each(parts, threads, [&](int64_t part) {
        for (int64_t b = part; b < all.batch; b += parts) work(b, rows + part * size);
    });
    return 0;
}

template <class T>
int sums(const SeqkitAlignments& all, int threads, double* alpha, double* totals) {
    return each_text(all, threads, [&](int64_t b, double* rows) {
        Aligned<T> aligned(all, b, rows);
        const int64_t wide = all.wide_row();
        double* to = alpha ? alpha + 2 * b * all.steps * wide : nullptr;
        aligned.template walk<true>([&](int64_t t) {
            if (!to) return;
            std::memcpy(to + 2 * t * wide, aligned.blanks, wide * sizeof(double));
            std::memcpy(to + (2 * t + 1) * wide, aligned.symbols, wide * sizeof(double));
        });
        totals[b] = aligned.total();
    });
}

template <class T>
int gradient(
    const SeqkitAlignments& all, int threads, const double* alpha, const double* totals, const double* weights,
    void* gradients
) {
    return each_text(all, threads, [&](int64_t b, double* rows) {
        T* out = static_cast<T*>(gradients) + b * all.steps * all.classes;
        std::fill(out, out + all.steps * all.classes, T(0));
        if (totals[b] == -INFINITY) return;
        Aligned<T> aligned(all, b, rows);
        aligned.template walk<false>([&](int64_t t) {
            const double* starts = alpha + 2 * (b * all.steps + t) * all.wide_row();
            aligned.add_shares(t, starts, totals[b], weights[b], out + t * all.classes);
        });
    });
}

// log(e^a + e^b) of two numbers, of which one or both may be -inf.
inline double log_sum_of_two(double a, double b) {
    if (a < b) std::swap(a, b);
    return b == -INFINITY ? a : a + std::log1p(std::exp(b - a));
}

// Prefix beam search as in seqkit/decoding/ctc_beam_search.py, which says what it computes. The blank is class 0.
//
// A prefix is a number: its place in the tree of all prefixes that were ever in the beam, of which 0 is the empty one.
class TextSearch {
public:
    TextSearch(int64_t classes, int64_t beams) : classes_(classes), beams_(beams) {
        add(-1, 0);
        beam_ = {{0, 0.0, -INFINITY, 0.0}};
    }

    void step(const double* log_probs, int64_t t) {
        const int64_t size = int64_t(beam_.size());
        if (int64_t(merged_at_.size()) < size * classes_) merged_at_.resize(size * classes_, -1);
        choose_symbols(log_probs);
        candidates_.clear();
        stays_.clear();
        for (int64_t i = 0; i < size; ++i) place_[beam_[i].prefix] = i;
        for (int64_t i = 0; i < size; ++i) {
            const Prefix& one = beam_[i];
            const int64_t last = symbol_[one.prefix], parent = parent_[one.prefix];
            // A prefix stays the same with a blank, or with its last symbol again.
            double by_symbol = one.prefix ? one.by_symbol + log_probs[last] : -INFINITY;
            if (one.prefix && place_[parent] >= 0) {  // it is in the beam, and so is what it extends: the two are one
                const int64_t shorter = place_[parent];
                by_symbol = log_sum_of_two(by_symbol, extended(shorter, last, log_probs));
                merged_at_[shorter * classes_ + last] = t;
            }
            const double by_blank = one.total + log_probs[0], total = log_sum_of_two(by_blank, by_symbol);
            stays_.push_back({one.prefix, by_blank, by_symbol, total});
            consider(total, i);
        }
        for (int64_t i = 0; i < size; ++i)
            for (const int64_t symbol : symbols_)
                if (merged_at_[i * classes_ + symbol] != t)
                    consider(extended(i, symbol, log_probs), size + i * classes_ + symbol);
        for (const Prefix& one : beam_) place_[one.prefix] = -1;
        keep_best(size);
    }

    // The texts of the beam, the best first. Returns how many are possible at all.
    int64_t write(int64_t steps, int64_t* texts, int64_t* counts, double* totals) {
        std::stable_sort(beam_.begin(), beam_.end(), [](const Prefix& a, const Prefix& b) {
            return a.total > b.total;
        });
        int64_t written = 0;
        for (const Prefix& one : beam_) {
            if (one.total == -INFINITY) break;
            int64_t count = 0;
            for (int64_t at = one.prefix; at; at = parent_[at]) ++count;
            counts[written] = count;
            totals[written] = one.total;
            for (int64_t at = one.prefix; at; at = parent_[at]) texts[written * steps + --count] = symbol_[at];
            ++written;
        }
        return written;
    }

private:
    // by_blank, by_symbol: over the alignments that end in a blank, and over those that do not; total: over all.
    struct Prefix {
        int64_t prefix;
        double by_blank, by_symbol, total;
    };
    // place: of a prefix that stays; or the size of the beam, and a row and a column of (beam, classes).
    struct Candidate {
        double total;
        int64_t place;
        bool operator<(const Candidate& other) const {  // the better one; of equal ones the earlier
            return total > other.total || (total == other.total && place < other.place);
        }
    };

    int64_t classes_, beams_;
    std::vector<int64_t> parent_, symbol_, child_, sibling_, place_;  // by prefix; -1: none
    std::vector<Prefix> beam_, stays_, next_;
    std::vector<Candidate> candidates_;
    std::vector<int64_t> symbols_;
    std::vector<int64_t> merged_at_;  // (beam, classes): the last step at which an extension was in the beam already
    std::vector<double> sorted_;

    int64_t add(int64_t parent, int64_t symbol) {
        parent_.push_back(parent);
        symbol_.push_back(symbol);
        child_.push_back(-1);
        sibling_.push_back(-1);
        place_.push_back(-1);
        return int64_t(parent_.size()) - 1;
    }

    int64_t child(int64_t parent, int64_t symbol) {
        for (int64_t at = child_[parent]; at >= 0; at = sibling_[at])
            if (symbol_[at] == symbol) return at;
        const int64_t added = add(parent, symbol);
        sibling_[added] = child_[parent];
        return child_[parent] = added;
    }

    // A prefix of the beam with one more symbol: any, but its last one only after a blank.
    double extended(int64_t place, int64_t symbol, const double* log_probs) const {
        const Prefix& one = beam_[place];
        const bool again = one.prefix && symbol_[one.prefix] == symbol;
        return (again ? one.by_blank : one.total) + log_probs[symbol];
    }

    // The symbols by which a prefix can be extended into the next beam: the 2 * beams most probable ones, and all that
    // are as probable as the last of them. A prefix with another symbol has at least `beams` extensions that are no
    // less probable: all but its last symbol again, and those that are in the beam already, fewer than `beams`.
    void choose_symbols(const double* log_probs) {
        double least = -INFINITY;
        if (classes_ - 1 > 2 * beams_) {
            sorted_.assign(log_probs + 1, log_probs + classes_);
            const auto place = sorted_.begin() + 2 * beams_ - 1;
            std::nth_element(sorted_.begin(), place, sorted_.end(), std::greater<double>());
            least = *place;
        }
        symbols_.clear();
        for (int64_t symbol = 1; symbol < classes_; ++symbol)
            if (log_probs[symbol] >= least && log_probs[symbol] > -INFINITY) symbols_.push_back(symbol);
    }

    void consider(double total, int64_t place) {
        if (total > -INFINITY) candidates_.push_back({total, place});
    }

    void keep_best(int64_t size) {
        if (int64_t(candidates_.size()) > beams_) {
            std::nth_element(candidates_.begin(), candidates_.begin() + beams_, candidates_.end());
            candidates_.resize(beams_);
        }
        std::sort(candidates_.begin(), candidates_.end(), [](const Candidate& a, const Candidate& b) {
            return a.place < b.place;
        });
        next_.clear();
        for (const Candidate& one : candidates_) {
            if (one.place < size) {
                next_.push_back(stays_[one.place]);
                continue;
            }
            const int64_t place = one.place - size;
            next_.push_back({child(beam_[place / classes_].prefix, place % classes_), -INFINITY, one.total, one.total});
        }
        beam_.swap(next_);
    }
};

}  // namespace

extern "C" {

// log_probs (T, C); texts (beams, T), counts and totals (beams,): the most probable texts, the best first. Returns how
// many there are; -1: no memory.
int64_t seqkit_search_texts(
    const double* log_probs, int64_t steps, int64_t classes, int64_t beams, int64_t* texts, int64_t* counts,
    double* totals
) {
    try {
        TextSearch search(classes, beams);
        for (int64_t t = 0; t < steps; ++t) search.step(log_probs + t * classes, t);
        return search.write(steps, texts, counts, totals);
    } catch (const std::bad_alloc&) {
        return -1;
    }
}

// Numbers of alpha for a step.
int64_t seqkit_alignment_row(int64_t symbols) {
    SeqkitAlignments all = {};
    all.symbols = symbols;
    return 2 * all.wide_row();
}

// totals (B,): the log-probability of each text, -inf if it has no alignment. alpha: null, or (B, T, row), which the
// gradient needs. 1: no memory; 2: a length is wrong; 3: a count or a class is wrong.
int seqkit_alignment_sums(const int64_t* asked, int threads, double* alpha, double* totals) {
    SeqkitAlignments all;
    static_assert(sizeof all % sizeof(int64_t) == 0);
    std::memcpy(&all, asked, sizeof all);
    if (const int fault = all.fault()) return fault;
    return all.wide ? sums<double>(all, threads, alpha, totals) : sums<float>(all, threads, alpha, totals);
}

// out (B, T, C), in the precision of the log-probabilities: the gradient of the negative log-probabilities of the texts
// times weights (B,). A text without an alignment has none. Not 0: as above.
int seqkit_alignment_gradient(
    const int64_t* asked, int threads, const double* alpha, const double* totals, const double* weights, void* out
) {
    SeqkitAlignments all;
    std::memcpy(&all, asked, sizeof all);
    if (const int fault = all.fault()) return fault;
    return all.wide ? gradient<double>(all, threads, alpha, totals, weights, out)
                    : gradient<float>(all, threads, alpha, totals, weights, out);
}

}
