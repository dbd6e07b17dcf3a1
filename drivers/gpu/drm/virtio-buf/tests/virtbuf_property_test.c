// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of properties: which text is one, and what a change makes of a
 * list.
 */
#include <kunit/test.h>

#include <linux/overflow.h>

#include "../virtbuf_drv.h"

struct text_case {
	const char *desc;
	const char *text;
	size_t len;
	bool valid;
};

#define TEXT(_desc, _text, _valid) \
	{ .desc = _desc, .text = _text, .len = sizeof(_text) - 1, \
	  .valid = _valid }

static const struct text_case text_cases[] = {
	TEXT("empty", "", true),
	TEXT("ASCII", "fourcc=XR24", true),
	TEXT("control characters", "\x01\x7f", true),
	TEXT("two bytes, first code point", "\xc2\x80", true),
	TEXT("two bytes, last code point", "\xdf\xbf", true),
	TEXT("three bytes, first code point", "\xe0\xa0\x80", true),
	TEXT("three bytes, below the surrogates", "\xed\x9f\xbf", true),
	TEXT("three bytes, above the surrogates", "\xee\x80\x80", true),
	TEXT("three bytes, last code point", "\xef\xbf\xbf", true),
	TEXT("four bytes, first code point", "\xf0\x90\x80\x80", true),
	TEXT("four bytes, last code point", "\xf4\x8f\xbf\xbf", true),
	TEXT("text behind a long character", "\xe2\x82\xacx", true),
	TEXT("NUL", "a\0b", false),
	TEXT("lone continuation byte", "\x80", false),
	TEXT("lead byte at the end", "a\xc3", false),
	TEXT("three bytes cut short", "\xe2\x82", false),
	TEXT("four bytes cut short", "\xf0\x90\x80", false),
	TEXT("two bytes, second no continuation", "\xc3x", false),
	TEXT("three bytes, third no continuation", "\xe2\x82x", false),
	TEXT("overlong NUL", "\xc0\x80", false),
	TEXT("overlong slash", "\xc0\xaf", false),
	TEXT("overlong, three bytes", "\xe0\x9f\xbf", false),
	TEXT("overlong, four bytes", "\xf0\x8f\xbf\xbf", false),
	TEXT("first surrogate", "\xed\xa0\x80", false),
	TEXT("last surrogate", "\xed\xbf\xbf", false),
	TEXT("above U+10FFFF", "\xf4\x90\x80\x80", false),
	TEXT("five bytes", "\xf8\x88\x80\x80\x80", false),
	TEXT("byte ff", "\xff", false),
};

static void text_desc(const struct text_case *param, char *desc)
{
	strscpy(desc, param->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(text, text_cases, text_desc);

static void virtbuf_test_text_is_valid(struct kunit *test)
{
	const struct text_case *param = test->param_value;
	/* Exactly as long, so that KASAN sees a read behind it */
	u8 *text = kunit_kmalloc(test, max(param->len, 1), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, text);
	memcpy(text, param->text, param->len);
	KUNIT_EXPECT_EQ(test, virtbuf_text_is_valid(text, param->len),
			param->valid);
}

/* A list in the wire encoding, of words: "name=value", or "name" to delete it */
static struct virtbuf_properties *list_of(struct kunit *test,
					  const char *words)
{
	struct virtbuf_properties *list;
	const char *word = words;

	/* A word of two bytes becomes a record of sixteen */
	list = kunit_kzalloc(test, struct_size(list, data,
					       8 * (strlen(words) + 2)),
			     GFP_KERNEL);
	KUNIT_ASSERT_NOT_NULL(test, list);
	refcount_set(&list->refs, 1);

	while (*word) {
		struct virtio_buf_property *record =
			(void *)(list->data + list->size);
		size_t len = strcspn(word, " ");
		size_t name_len = min(strcspn(word, "="), len);
		bool has_value = name_len < len;
		size_t value_len = has_value ? len - name_len - 1 : 0;

		record->name_len = cpu_to_le16(name_len);
		record->value_len = cpu_to_le32(value_len);
		record->flags = cpu_to_le16(has_value ? 0 :
					    VIRTIO_BUF_PROPERTY_DELETE);
		memcpy(record + 1, word, name_len);
		memcpy((u8 *)(record + 1) + name_len,
		       word + len - value_len, value_len);
		list->size += ALIGN(sizeof(*record) + name_len + value_len, 8);
		list->count++;
		word += len;
		word += *word == ' ';
	}
	return list;
}

static const struct virtbuf_limits limits = {
	.max_properties = 4,
	.max_property_bytes = 64,
};

static struct virtbuf_properties *
apply(struct kunit *test, const char *old, const char *change)
{
	return virtbuf_properties_apply(&limits,
					old ? list_of(test, old) : NULL,
					list_of(test, change));
}

static void expect_apply(struct kunit *test, const char *old,
			 const char *change, const char *wanted)
{
	struct virtbuf_properties *got = apply(test, old, change);
	struct virtbuf_properties *list = list_of(test, wanted);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, got);
	KUNIT_EXPECT_EQ(test, got->count, list->count);
	KUNIT_EXPECT_EQ(test, got->size, list->size);
	if (got->size == list->size)
		KUNIT_EXPECT_MEMEQ(test, got->data, list->data, list->size);
	virtbuf_properties_put(got);
}

static void expect_too_big(struct kunit *test, const char *old,
			   const char *change)
{
	KUNIT_EXPECT_EQ(test, PTR_ERR(apply(test, old, change)), -E2BIG);
}

static void virtbuf_test_apply_to_nothing(struct kunit *test)
{
	expect_apply(test, NULL, "a=1 b=", "a=1 b=");
	expect_apply(test, NULL, "", "");
	expect_apply(test, "", "a=1", "a=1");
}

static void virtbuf_test_apply_adds_last(struct kunit *test)
{
	expect_apply(test, "a=1 b=2", "c=3", "a=1 b=2 c=3");
}

static void virtbuf_test_apply_replaces_in_place(struct kunit *test)
{
	expect_apply(test, "a=1 b=2 c=3", "b=of-another-length",
		     "a=1 b=of-another-length c=3");
}

static void virtbuf_test_apply_deletes(struct kunit *test)
{
	expect_apply(test, "a=1 b=2 c=3", "b", "a=1 c=3");
	expect_apply(test, "a=1", "a", "");
	expect_apply(test, "a=1", "absent", "a=1");
	expect_apply(test, NULL, "absent", "");
}

static void virtbuf_test_apply_tells_names_apart(struct kunit *test)
{
	expect_apply(test, "ab=1 a=2", "a=3 abc=4", "ab=1 a=3 abc=4");
}

static void virtbuf_test_apply_mixes(struct kunit *test)
{
	expect_apply(test, "a=1 b=2 c=3 d=4", "e=5 d a b=6", "b=6 c=3 e=5");
}

static void virtbuf_test_apply_leaves_both_lists(struct kunit *test)
{
	struct virtbuf_properties *old = list_of(test, "a=1 b=2");
	struct virtbuf_properties *change = list_of(test, "a=3 b");
	struct virtbuf_properties *got = virtbuf_properties_apply(&limits, old,
								  change);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, got);
	virtbuf_properties_put(got);
	KUNIT_EXPECT_MEMEQ(test, old->data, list_of(test, "a=1 b=2")->data,
			   old->size);
	KUNIT_EXPECT_MEMEQ(test, change->data, list_of(test, "a=3 b")->data,
			   change->size);
}

static void virtbuf_test_apply_counts(struct kunit *test)
{
	/* What is deleted in the same change makes room */
	expect_apply(test, "a=1 b=2 c=3 d=4", "a e=5", "b=2 c=3 d=4 e=5");
	expect_too_big(test, "a=1 b=2 c=3 d=4", "e=5");
}

/* With a header of 8 bytes, this is a record of 48 */
#define LONG_WORD "b=012345678901234567890123456789012345678"

static void virtbuf_test_apply_measures(struct kunit *test)
{
	KUNIT_ASSERT_EQ(test, list_of(test, LONG_WORD)->size, 48);
	expect_apply(test, "a=1234567", LONG_WORD, "a=1234567 " LONG_WORD);
	expect_too_big(test, "a=12345678", LONG_WORD);
	expect_too_big(test, "a=1234567 " LONG_WORD, "c=");
}

static struct kunit_case virtbuf_property_tests[] = {
	KUNIT_CASE_PARAM(virtbuf_test_text_is_valid, text_gen_params),
	KUNIT_CASE(virtbuf_test_apply_to_nothing),
	KUNIT_CASE(virtbuf_test_apply_adds_last),
	KUNIT_CASE(virtbuf_test_apply_replaces_in_place),
	KUNIT_CASE(virtbuf_test_apply_deletes),
	KUNIT_CASE(virtbuf_test_apply_tells_names_apart),
	KUNIT_CASE(virtbuf_test_apply_mixes),
	KUNIT_CASE(virtbuf_test_apply_leaves_both_lists),
	KUNIT_CASE(virtbuf_test_apply_counts),
	KUNIT_CASE(virtbuf_test_apply_measures),
	{ }
};

static struct kunit_suite virtbuf_property_suite = {
	.name = "virtbuf_property",
	.test_cases = virtbuf_property_tests,
};

kunit_test_suite(virtbuf_property_suite);
