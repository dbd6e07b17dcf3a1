// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of what the driver believes: answers that are too short, have an
 * unknown status, or tell of what the device cannot know.
 */
#include <kunit/test.h>

#include "../virtbuf_drv.h"

#define UNKNOWN_STATUS	(VIRTIO_BUF_S_OVERLAP + 1)

struct answer_case {
	const char *desc;
	u32 status;
	size_t len;
	int result;
};

#define SHORT	sizeof(struct virtio_buf_response)
#define FULL	sizeof(struct virtio_buf_register_response)

static const struct answer_case answer_cases[] = {
	{ "nothing", VIRTIO_BUF_S_OK, 0, VIRTBUF_RESULT_GARBAGE },
	{ "half a header", VIRTIO_BUF_S_OK, SHORT - 1, VIRTBUF_RESULT_GARBAGE },
	{ "ok without its answer", VIRTIO_BUF_S_OK, SHORT,
	  VIRTBUF_RESULT_GARBAGE },
	{ "ok, one byte short", VIRTIO_BUF_S_OK, FULL - 1,
	  VIRTBUF_RESULT_GARBAGE },
	{ "ok", VIRTIO_BUF_S_OK, FULL, VIRTIO_BUF_S_OK },
	{ "pending without its answer", VIRTIO_BUF_S_PENDING, SHORT,
	  VIRTBUF_RESULT_GARBAGE },
	{ "pending", VIRTIO_BUF_S_PENDING, FULL, VIRTIO_BUF_S_PENDING },
	{ "an error is only a header", VIRTIO_BUF_S_LIMIT, SHORT,
	  VIRTIO_BUF_S_LIMIT },
	{ "an error in half a header", VIRTIO_BUF_S_LIMIT, SHORT - 1,
	  VIRTBUF_RESULT_GARBAGE },
	{ "the last status", VIRTIO_BUF_S_OVERLAP, SHORT,
	  VIRTIO_BUF_S_OVERLAP },
	{ "an unknown status", UNKNOWN_STATUS, FULL, VIRTBUF_RESULT_GARBAGE },
	{ "a negative status", (u32)-ECANCELED, FULL, VIRTBUF_RESULT_GARBAGE },
};

static void answer_desc(const struct answer_case *param, char *desc)
{
	strscpy(desc, param->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(answer, answer_cases, answer_desc);

static void virtbuf_test_answer(struct kunit *test)
{
	const struct answer_case *param = test->param_value;
	struct virtio_buf_register_response *answer =
		kunit_kzalloc(test, sizeof(*answer), GFP_KERNEL);
	struct virtio_buf_request request = {
		.type = cpu_to_le32(VIRTIO_BUF_CMD_REGISTER),
	};
	struct virtbuf_command command = {
		.out[0] = { &request, sizeof(request) },
		.answer = { answer, sizeof(*answer) },
		.answer_min = sizeof(*answer),
		.answer_len = param->len,
	};
	struct virtbuf_device *vb = kunit_kzalloc(test, sizeof(*vb),
						  GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, answer);
	KUNIT_ASSERT_NOT_NULL(test, vb);
	answer->hdr.status = cpu_to_le32(param->status);
	KUNIT_EXPECT_EQ(test, virtbuf_result(vb, &command), param->result);
}

static void virtbuf_test_errno(struct kunit *test)
{
	u32 status;

	KUNIT_EXPECT_EQ(test, virtbuf_result_to_errno(VIRTIO_BUF_S_OK), 0);
	KUNIT_EXPECT_EQ(test, virtbuf_result_to_errno(VIRTIO_BUF_S_PENDING), 0);
	KUNIT_EXPECT_EQ(test, virtbuf_result_to_errno(VIRTBUF_RESULT_LOST),
			-EIO);
	KUNIT_EXPECT_EQ(test, virtbuf_result_to_errno(VIRTBUF_RESULT_GARBAGE),
			-EIO);
	/* What libdrm would take for "try again", for ever, is none of them */
	for (status = VIRTIO_BUF_S_UNSUPPORTED; status < UNKNOWN_STATUS;
	     status++) {
		int error = virtbuf_result_to_errno(status);

		KUNIT_EXPECT_LT_MSG(test, error, 0, "status %u", status);
		KUNIT_EXPECT_NE_MSG(test, error, -EAGAIN, "status %u", status);
		KUNIT_EXPECT_NE_MSG(test, error, -EINTR, "status %u", status);
	}
}

struct released_case {
	const char *desc;
	u64 given, accepted;
	u64 before, told;
	u64 after;
	/* What was given before the update that is in flight; 0: none is */
	u64 in_flight;
};

static const struct released_case released_cases[] = {
	{ "the next one", 5, 5, 0, 3, 3 },
	{ "all", 5, 5, 3, 5, 5 },
	{ "never back", 5, 5, 3, 2, 3 },
	{ "not to nothing", 5, 5, 3, 0, 3 },
	{ "never above what was given", 5, 5, 3, 6, 5 },
	{ "never to the end of numbers", 5, 5, 3, U64_MAX, 5 },
	{ "not the one in flight", 6, 5, 3, 5, 5, 5 },
	{ "those that failed are read by nobody", 7, 5, 3, 5, 7 },
	{ "those that failed before one in flight", 9, 5, 3, 5, 8, 8 },
	{ "what failed waits for what was accepted", 7, 5, 3, 4, 4 },
};

static void released_desc(const struct released_case *param, char *desc)
{
	strscpy(desc, param->desc, KUNIT_PARAM_DESC_SIZE);
}

KUNIT_ARRAY_PARAM(released, released_cases, released_desc);

static void virtbuf_test_released(struct kunit *test)
{
	const struct released_case *param = test->param_value;
	struct virtbuf_device *vb = kunit_kzalloc(test, sizeof(*vb),
						  GFP_KERNEL);
	struct virtbuf_buffer *buffer = kunit_kzalloc(test, sizeof(*buffer),
						      GFP_KERNEL);
	struct virtbuf_update *update = kunit_kzalloc(test, sizeof(*update),
						      GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vb);
	KUNIT_ASSERT_NOT_NULL(test, buffer);
	KUNIT_ASSERT_NOT_NULL(test, update);
	spin_lock_init(&vb->lock);
	INIT_LIST_HEAD(&buffer->updates);
	INIT_LIST_HEAD(&buffer->points);
	buffer->state = VIRTBUF_REGISTERED;
	buffer->given_serial = param->given;
	buffer->accepted_serial = param->accepted;
	buffer->released = param->before;
	if (param->in_flight) {
		update->previous_serial = param->in_flight;
		list_add_tail(&update->in_buffer, &buffer->updates);
	}

	spin_lock(&vb->lock);
	virtbuf_buffer_released(vb, buffer, param->told);
	spin_unlock(&vb->lock);
	KUNIT_EXPECT_EQ(test, buffer->released, param->after);
}

static struct kunit_case virtbuf_answer_tests[] = {
	KUNIT_CASE_PARAM(virtbuf_test_answer, answer_gen_params),
	KUNIT_CASE(virtbuf_test_errno),
	KUNIT_CASE_PARAM(virtbuf_test_released, released_gen_params),
	{ }
};

static struct kunit_suite virtbuf_answer_suite = {
	.name = "virtbuf_answer",
	.test_cases = virtbuf_answer_tests,
};

kunit_test_suite(virtbuf_answer_suite);
