/* Texts out of syllables. Nobody's name is in here; who finds theirs has a common one. */
#include "tests/gen/members_text.h"

#include "base/mem.h"

struct syllables {
    const char *const *items;
    unsigned count;
    unsigned least, most; /* syllables of one part of a name */
    bool spaced;          /* given name and family name stand apart */
};

#define TABLE(name, ...) static const char *const name[] = {__VA_ARGS__}
TABLE(latin, "ma", "ri", "lo", "ken", "da", "vi", "sa", "to", "be", "na", "ju", "el", "an", "or",
      "win", "ber", "ta", "mo", "se", "li");
TABLE(diacritics, "jö", "ña", "çe", "šu", "ří", "lá", "ø", "ån", "ğu", "ło", "ê", "ü", "ži", "ân",
      "ß", "ėl", "ő", "tű", "nơ", "đa");
TABLE(cyrillic, "ма", "ри", "ло", "щен", "да", "ви", "ёл", "то", "бе", "жа", "ю", "ъя", "ко", "ц");
TABLE(greek, "μα", "ρί", "λο", "κε", "δή", "βι", "σα", "το", "ψη", "ώ", "ξε", "νά", "θυ", "ς");
TABLE(han, "王", "晓", "明", "丽", "伟", "芳", "磊", "静", "桂", "英", "𠮷", "澤", "淑", "芬");
TABLE(hangul, "김", "서", "준", "민", "지", "현", "우", "은", "빈", "호", "옥", "닭");
TABLE(kana, "さ", "く", "ら", "ユ", "キ", "は", "な", "ひ", "ろ", "みゃ", "ッ", "ー");
TABLE(arabic, "مح", "سا", "نو", "عب", "لي", "را", "كر", "يم", "فا", "طم", "هـ");
TABLE(devanagari, "रा", "मी", "क्षि", "सु", "नि", "ता", "ज्ञा", "वि", "का", "शं", "प्र");
TABLE(emoji, "🙂", "🎉", "👩‍🚀", "🏳️‍🌈", "🇯🇵", "💚", "🐙");
TABLE(words, "asked", "for", "a", "refund", "order", "late", "\"gift\"", "C:\\tmp", "café", "tea",
      "see", "ticket", "4711", "phone", "naïve", "100 %", "–", "ok", "👍", "<b>", "it's", "{x}",
      "null");
TABLE(joints, " ", " ", " ", " ", " ", "\n", "\t", ", ", "\r\n", "/");
TABLE(city_ends, "burg", "ville", "stad", "grad", "polis", "shi", "ton", "pur", "-sur-Mer",
      " del Río");

static const struct syllables scripts[GEN_SCRIPTS] = {
    [GEN_LATIN] = {latin, LS_COUNT(latin), 2, 3, true},
    [GEN_DIACRITICS] = {diacritics, LS_COUNT(diacritics), 2, 4, true},
    [GEN_CYRILLIC] = {cyrillic, LS_COUNT(cyrillic), 2, 3, true},
    [GEN_GREEK] = {greek, LS_COUNT(greek), 2, 3, true},
    [GEN_HAN] = {han, LS_COUNT(han), 1, 1, false},
    [GEN_HANGUL] = {hangul, LS_COUNT(hangul), 1, 2, false},
    [GEN_KANA] = {kana, LS_COUNT(kana), 2, 3, true},
    [GEN_ARABIC] = {arabic, LS_COUNT(arabic), 2, 3, true},
    [GEN_DEVANAGARI] = {devanagari, LS_COUNT(devanagari), 2, 3, true},
};

#define PICK(random, table) ((table)[gen_below((random), LS_COUNT(table))])

static void part_of_name(struct gen_random *random, const struct syllables *from,
                         struct ls_buf *text)
{
    size_t start = text->len;
    unsigned count = from->least + gen_below(random, from->most - from->least + 1);
    for (unsigned i = 0; i < count; i++)
        ls_buf_append_str(text, from->items[gen_below(random, from->count)]);
    char *first = text->data + start;
    if (*first >= 'a' && *first <= 'z')
        *first = (char)(*first - 'a' + 'A');
}

void gen_name(struct gen_random *random, enum gen_script script, struct ls_buf *text)
{
    const struct syllables *from = &scripts[script];
    ls_buf_clear(text);
    part_of_name(random, from, text);
    if (from->spaced)
        ls_buf_append_char(text, ' ');
    part_of_name(random, from, text);
    if (gen_chance(random, 5))
        ls_buf_append_str(text, script == GEN_LATIN ? " O'Neil-Smith \"Jr.\"" : "·");
    if (gen_chance(random, 20)) {
        ls_buf_append_char(text, ' ');
        ls_buf_append_str(text, PICK(random, emoji));
    }
}

void gen_city(struct gen_random *random, struct ls_buf *text)
{
    ls_buf_clear(text);
    part_of_name(random, &scripts[gen_chance(random, 700) ? GEN_LATIN : GEN_DIACRITICS], text);
    ls_buf_append_str(text, PICK(random, city_ends));
}

void gen_note(struct gen_random *random, unsigned count, struct ls_buf *text)
{
    ls_buf_clear(text);
    for (unsigned i = 0; i < count; i++) {
        if (i > 0)
            ls_buf_append_str(text, PICK(random, joints));
        ls_buf_append_str(text, PICK(random, words));
    }
}

/* One character of 4 bytes as two \u escapes. */
static void append_pair(struct ls_buf *out, const unsigned char *c)
{
    uint32_t code = (uint32_t)(c[0] & 7) << 18 | (uint32_t)(c[1] & 63) << 12 |
                    (uint32_t)(c[2] & 63) << 6 | (c[3] & 63u);
    code -= 0x10000;
    ls_buf_printf(out, "\\u%04x\\u%04X", 0xd800 + (code >> 10), 0xdc00 + (code & 0x3ff));
}

void gen_json_string(struct ls_buf *out, const char *text, size_t len, bool pairs)
{
    ls_buf_append_char(out, '"');
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c == '"' || c == '\\') {
            ls_buf_append_char(out, '\\');
            ls_buf_append_char(out, (char)c);
        } else if (c == '\n') {
            ls_buf_append_str(out, "\\n");
        } else if (c < 0x20) {
            ls_buf_printf(out, "\\u%04x", c);
        } else if (c >= 0xf0 && pairs) {
            append_pair(out, (const unsigned char *)text + i);
            i += 3;
        } else {
            ls_buf_append_char(out, (char)c);
        }
    }
    ls_buf_append_char(out, '"');
}
