// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of records that the device writes: properties, frames of a writer,
 * consumers. What breaks their format is refused, and nothing behind it is read:
 * each copy is exactly as long as the device says, so that KASAN would see it.
 */
#include <kunit/test.h>

#include <linux/mman.h>
#include <linux/uaccess.h>

#include "../virtbuf_drv.h"

static u8 *bytes_of(struct kunit *test, const void *bytes, size_t size)
{
	u8 *copy = kunit_kmalloc(test, max(size, 1), GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, copy);
	memcpy(copy, bytes, size);
	return copy;
}

/* Two properties with the shortest names and no values */
struct property_bytes {
	struct {
		struct virtio_buf_property head;
		u8 text[8];
	} list[2];
};

static_assert(sizeof(struct property_bytes) == 32);

struct property_case {
	const char *desc;
	u16 name_len[2];
	u32 value_len[2];
	size_t size;
	/* -1: refused */
	int count;
};

static const struct property_case property_cases[] = {
	{ "nothing", { 1, 1 }, { 0, 0 }, 0, 0 },
	{ "one", { 1, 1 }, { 0, 0 }, 16, 1 },
	{ "two", { 1, 1 }, { 0, 0 }, 32, 2 },
	{ "text without padding", { 3, 1 }, { 5, 7 }, 32, 2 },
	{ "half a head", { 1, 1 }, { 0, 0 }, 4, -1 },
	{ "a head alone", { 1, 1 }, { 0, 0 }, 8, -1 },
	{ "padding cut off", { 1, 1 }, { 0, 0 }, 9, -1 },
	{ "half a second one", { 1, 1 }, { 0, 0 }, 20, -1 },
	{ "the second cut short", { 1, 1 }, { 0, 0 }, 31, -1 },
	{ "no name", { 0, 1 }, { 1, 0 }, 32, -1 },
	{ "no name of the second", { 1, 0 }, { 0, 1 }, 32, -1 },
	{ "a name too long", { 25, 1 }, { 0, 0 }, 32, -1 },
	{ "the longest name", { U16_MAX, 1 }, { 0, 0 }, 32, -1 },
	{ "a value too long", { 1, 1 }, { 24, 0 }, 32, -1 },
	{ "a value of all that is left", { 1, 1 }, { 32, 0 }, 32, -1 },
	{ "the longest value", { 1, 1 }, { U32_MAX, 0 }, 32, -1 },
	{ "a value that wraps", { 1, 1 }, { U32_MAX - 15, 0 }, 32, -1 },
	{ "the second too long", { 1, 1 }, { 0, 8 }, 32, -1 },
};

static void property_desc(const struct property_case *param, char *desc)
{
	strscpy(desc, param->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(property, property_cases, property_desc);

static void virtbuf_test_properties(struct kunit *test)
{
	const struct property_case *param = test->param_value;
	struct virtbuf_properties *properties;
	struct property_bytes bytes = {};
	unsigned int i;

	for (i = 0; i < 2; i++) {
		bytes.list[i].head.name_len = cpu_to_le16(param->name_len[i]);
		bytes.list[i].head.value_len = cpu_to_le32(param->value_len[i]);
	}
	properties = virtbuf_properties_from_device(bytes_of(test, &bytes,
							     param->size),
						    param->size);
	if (param->count < 0) {
		KUNIT_EXPECT_EQ(test, PTR_ERR_OR_ZERO(properties), -EPROTO);
	} else {
		KUNIT_ASSERT_NOT_ERR_OR_NULL(test, properties);
		KUNIT_EXPECT_EQ(test, properties->count, param->count);
		KUNIT_EXPECT_EQ(test, properties->size, param->size);
	}
	if (!IS_ERR(properties))
		virtbuf_properties_put(properties);
}

#define FRAME_BUFFER	4096
#define FRAME_PROPERTIES	16

/* A frame with one of each, and some bytes that it does not need */
struct frame_bytes {
	struct virtio_buf_frame frame;
	struct virtio_buf_rect rect;
	struct virtio_buf_span span;
	struct virtio_buf_property property;
	u8 text[8];
	u8 more[8];
};

#define FRAME_BYTES	offsetof(struct frame_bytes, more)

static_assert(sizeof(struct frame_bytes) == FRAME_BYTES + 8);

struct frame_case {
	const char *desc;
	/* What is changed in the frame; @len 0: nothing */
	size_t offset, len;
	u64 value;
	size_t size;
	int result;
};

#define FRAME(_desc, _field, _len, _value, _size, _result) \
	{ .desc = _desc, .offset = offsetof(struct frame_bytes, _field), \
	  .len = _len, .value = _value, .size = _size, .result = _result }
#define BROKEN(desc, field, len, value) \
	FRAME(desc, field, len, value, FRAME_BYTES, -EPROTO)

static const struct frame_case frame_cases[] = {
	{ .desc = "as it should be", .size = FRAME_BYTES },
	FRAME("all flags", frame.flags, 4, VIRTIO_BUF_FRAME_FLAGS, FRAME_BYTES,
	      0),
	FRAME("the last byte", frame.data_offset, 8, FRAME_BUFFER - 1,
	      FRAME_BYTES, 0),
	{ .desc = "nothing at all", .size = 0, .result = -EPROTO },
	{ .desc = "half a frame", .size = sizeof(struct virtio_buf_frame) - 1,
	  .result = -EPROTO },
	{ .desc = "a frame alone", .size = sizeof(struct virtio_buf_frame),
	  .result = -EPROTO },
	{ .desc = "one byte short", .size = FRAME_BYTES - 1,
	  .result = -EPROTO },
	{ .desc = "bytes that nobody counts", .size = FRAME_BYTES + 8,
	  .result = -EPROTO },
	BROKEN("no serial", frame.serial, 8, 0),
	BROKEN("an unknown flag", frame.flags, 4, VIRTIO_BUF_FRAME_FLAGS + 1),
	BROKEN("an unknown clock", frame.clock, 4, VIRTIO_BUF_CLOCK_TAI + 1),
	BROKEN("payload behind the end", frame.data_offset, 8, FRAME_BUFFER),
	BROKEN("payload that wraps", frame.data_offset, 8, U64_MAX),
	BROKEN("payload without end", frame.data_size, 8, U64_MAX),
	BROKEN("fewer rectangles than there are", frame.rect_count, 2, 0),
	BROKEN("more rectangles than there are", frame.rect_count, 2, 2),
	BROKEN("too many rectangles", frame.rect_count, 2,
	       VIRTIO_BUF_MAX_DAMAGE + 1),
	BROKEN("the most rectangles", frame.rect_count, 2, U16_MAX),
	BROKEN("fewer spans than there are", frame.span_count, 2, 0),
	BROKEN("more spans than there are", frame.span_count, 2, 2),
	BROKEN("too many spans", frame.span_count, 2, VIRTIO_BUF_MAX_DAMAGE + 1),
	BROKEN("the most spans", frame.span_count, 2, U16_MAX),
	BROKEN("no width", rect.width, 4, 0),
	BROKEN("no height", rect.height, 4, 0),
	BROKEN("no length", span.len, 8, 0),
	BROKEN("a span behind the end", span.offset, 8, FRAME_BUFFER),
	BROKEN("a span that wraps", span.offset, 8, U64_MAX),
	BROKEN("a span without end", span.len, 8, U64_MAX),
	BROKEN("fewer properties than there are", frame.property_bytes, 4, 0),
	BROKEN("more properties than there are", frame.property_bytes, 4, 24),
	BROKEN("properties without end", frame.property_bytes, 4, U32_MAX),
	BROKEN("properties that wrap", frame.property_bytes, 4,
	       U32_MAX - FRAME_BYTES + 1),
	BROKEN("a property without a name", property.name_len, 2, 0),
	BROKEN("a property too long", property.value_len, 4, 8),
	/* Above what the device says itself that there can be */
	FRAME("too many properties", frame.property_bytes, 4, 24, FRAME_BYTES + 8,
	      -EPROTO),
};

static void frame_desc(const struct frame_case *param, char *desc)
{
	strscpy(desc, param->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(frame, frame_cases, frame_desc);

static struct virtbuf_device *device_of(struct kunit *test)
{
	struct virtbuf_device *vb = kunit_kzalloc(test, sizeof(*vb),
						  GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vb);
	spin_lock_init(&vb->lock);
	vb->limits.max_property_bytes = FRAME_PROPERTIES;
	return vb;
}

static struct virtbuf_buffer *buffer_of(struct kunit *test)
{
	struct virtbuf_buffer *buffer = kunit_kzalloc(test, sizeof(*buffer),
						      GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, buffer);
	buffer->size = FRAME_BUFFER;
	return buffer;
}

static struct frame_bytes frame_of(u64 serial)
{
	struct frame_bytes bytes = {
		.frame.serial = cpu_to_le64(serial),
		.frame.data_size = cpu_to_le64(1),
		.frame.rect_count = cpu_to_le16(1),
		.frame.span_count = cpu_to_le16(1),
		.frame.property_bytes = cpu_to_le32(FRAME_PROPERTIES),
		.rect.width = cpu_to_le32(1),
		.rect.height = cpu_to_le32(1),
		.span.len = cpu_to_le64(1),
		.property.name_len = cpu_to_le16(1),
	};

	return bytes;
}

static void virtbuf_test_frame(struct kunit *test)
{
	const struct frame_case *param = test->param_value;
	struct virtbuf_buffer *buffer = buffer_of(test);
	struct virtbuf_device *vb = device_of(test);
	struct frame_bytes bytes = frame_of(7);
	__le64 value = cpu_to_le64(param->value);

	memcpy((u8 *)&bytes + param->offset, &value, param->len);
	buffer->written = virtbuf_written_create();
	KUNIT_ASSERT_NOT_NULL(test, buffer->written);
	KUNIT_EXPECT_EQ(test,
			virtbuf_written_news(vb, buffer,
					     bytes_of(test, &bytes,
						      param->size),
					     param->size),
			param->result);
	KUNIT_EXPECT_EQ(test, virtbuf_written_serial(buffer),
			param->result ? 0 : 7);
	virtbuf_written_free(buffer->written);
}

/* A frame that is refused leaves the one before it */
static void virtbuf_test_frame_stays(struct kunit *test)
{
	struct virtbuf_buffer *buffer = buffer_of(test);
	struct virtbuf_device *vb = device_of(test);
	struct frame_bytes good = frame_of(7), bad = frame_of(8);

	bad.span.len = 0;
	buffer->written = virtbuf_written_create();
	KUNIT_ASSERT_NOT_NULL(test, buffer->written);
	KUNIT_EXPECT_EQ(test, virtbuf_written_news(vb, buffer, (u8 *)&good,
						   FRAME_BYTES), 0);
	KUNIT_EXPECT_EQ(test, virtbuf_written_news(vb, buffer, (u8 *)&bad,
						   FRAME_BYTES), -EPROTO);
	KUNIT_EXPECT_EQ(test, virtbuf_written_serial(buffer), 7);
	virtbuf_written_free(buffer->written);
}

static void virtbuf_test_frame_without_writer(struct kunit *test)
{
	struct virtbuf_buffer *buffer = buffer_of(test);
	struct virtbuf_device *vb = device_of(test);
	struct frame_bytes bytes = frame_of(7);

	KUNIT_EXPECT_EQ(test, virtbuf_written_news(vb, buffer, (u8 *)&bytes,
						   FRAME_BYTES), -EPROTO);
	KUNIT_EXPECT_EQ(test, virtbuf_written_serial(buffer), 0);
}

#define CONSUMER	sizeof(struct virtio_buf_consumer)

struct consumer_case {
	const char *desc;
	u64 last, id;
	u32 properties;
	size_t left;
	u32 size;
	int result;
};

static const struct consumer_case consumer_cases[] = {
	{ "the first", 0, 1, 0, CONSUMER, 0, CONSUMER },
	{ "with properties", 4, 5, 16, CONSUMER + 16, 64, CONSUMER + 16 },
	{ "with others behind it", 4, 5, 16, 4096, 64, CONSUMER + 16 },
	{ "the last id", 4, U64_MAX, 0, CONSUMER, 64, CONSUMER },
	{ "all that there can be", 4, 5, 0, CONSUMER,
	  VIRTBUF_MAX_RECORD_BYTES - CONSUMER, CONSUMER },
	{ "more than there can be", 4, 5, 0, CONSUMER,
	  VIRTBUF_MAX_RECORD_BYTES - CONSUMER + 1, -EIO },
	{ "nothing left", 4, 5, 0, 0, 64, -EIO },
	{ "half a head", 4, 5, 0, CONSUMER - 1, 64, -EIO },
	{ "id 0", 0, 0, 0, CONSUMER, 0, -EIO },
	{ "the same again", 5, 5, 0, CONSUMER, 64, -EIO },
	{ "an earlier one", 5, 4, 0, CONSUMER, 64, -EIO },
	{ "after the last id", U64_MAX, 1, 0, CONSUMER, 64, -EIO },
	{ "no properties there", 4, 5, 8, CONSUMER, 64, -EIO },
	{ "properties cut short", 4, 5, 16, CONSUMER + 15, 64, -EIO },
	{ "properties without padding", 4, 5, 12, CONSUMER + 16, 64, -EIO },
	{ "properties without end", 4, 5, U32_MAX - 7, CONSUMER, 64, -EIO },
	{ "too many properties", 4, 5, VIRTIO_BUF_MAX_PROPERTY_BYTES + 8,
	  2 * VIRTIO_BUF_MAX_PROPERTY_BYTES, 64, -EIO },
};

static void consumer_desc(const struct consumer_case *param, char *desc)
{
	strscpy(desc, param->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(consumer, consumer_cases, consumer_desc);

/* Without room for them, records are counted alone */
static void virtbuf_test_consumer(struct kunit *test)
{
	const struct consumer_case *param = test->param_value;
	const struct virtio_buf_consumer consumer = {
		.consumer_id = cpu_to_le64(param->id),
		.property_bytes = cpu_to_le32(param->properties),
	};
	struct virtbuf_listing listing = {
		.size = param->size,
		.count = 3,
		.last = param->last,
	};
	u8 *record = kunit_kzalloc(test, max(param->left, 1), GFP_KERNEL);
	bool taken = param->result > 0;

	KUNIT_ASSERT_NOT_NULL(test, record);
	memcpy(record, &consumer, min(param->left, sizeof(consumer)));
	KUNIT_EXPECT_EQ(test, virtbuf_take_record(&listing, record,
						  param->left),
			param->result);
	KUNIT_EXPECT_EQ(test, listing.count, taken ? 4 : 3);
	KUNIT_EXPECT_EQ(test, listing.last, taken ? param->id : param->last);
	KUNIT_EXPECT_EQ(test, listing.size,
			param->size + (taken ? param->result : 0));
}

/* What has no room is not cut, and nothing goes where it would have gone */
static void virtbuf_test_consumer_room(struct kunit *test)
{
	unsigned long user = kunit_vm_mmap(test, NULL, 0, PAGE_SIZE,
					   PROT_READ | PROT_WRITE,
					   MAP_ANONYMOUS | MAP_PRIVATE, 0);
	struct virtio_buf_consumer consumer = { .consumer_id = cpu_to_le64(1) };
	struct virtbuf_listing listing = {
		.data = (u8 __user *)user,
		.room = 2 * CONSUMER - 1,
	};
	struct virtio_buf_consumer read[2];
	unsigned int i;

	KUNIT_ASSERT_NE_MSG(test, user, 0, "no user memory");
	for (i = 1; i <= 3; i++) {
		consumer.consumer_id = cpu_to_le64(i);
		KUNIT_EXPECT_EQ(test,
				virtbuf_take_record(&listing, (u8 *)&consumer,
						    CONSUMER), CONSUMER);
	}
	KUNIT_EXPECT_EQ(test, listing.count, 3);
	KUNIT_EXPECT_EQ(test, listing.size, 3 * CONSUMER);
	KUNIT_ASSERT_EQ(test, copy_from_user(read, (void __user *)user,
					     sizeof(read)), 0);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(read[0].consumer_id), 1);
	KUNIT_EXPECT_EQ(test, le64_to_cpu(read[1].consumer_id), 0);

	/* Half of it is in memory that nobody has */
	listing.data = (u8 __user *)(user + PAGE_SIZE - CONSUMER / 2);
	listing.room = PAGE_SIZE;
	consumer.consumer_id = cpu_to_le64(4);
	KUNIT_EXPECT_EQ(test, virtbuf_take_record(&listing, (u8 *)&consumer,
						  CONSUMER), -EFAULT);
	KUNIT_EXPECT_EQ(test, listing.count, 3);
}

static struct kunit_case virtbuf_record_tests[] = {
	KUNIT_CASE_PARAM(virtbuf_test_properties, property_gen_params),
	KUNIT_CASE_PARAM(virtbuf_test_frame, frame_gen_params),
	KUNIT_CASE(virtbuf_test_frame_stays),
	KUNIT_CASE(virtbuf_test_frame_without_writer),
	KUNIT_CASE_PARAM(virtbuf_test_consumer, consumer_gen_params),
	KUNIT_CASE(virtbuf_test_consumer_room),
	{ }
};

static struct kunit_suite virtbuf_record_suite = {
	.name = "virtbuf_record",
	.test_cases = virtbuf_record_tests,
};

kunit_test_suite(virtbuf_record_suite);
