// SPDX-License-Identifier: GPL-2.0-only
/*
 * KUnit tests of quotas: that all of file, user and device are charged or none,
 * and that what is given back can be used again. They read the limits as programs
 * do, so that they hold whatever the module's parameters are.
 */
#include <kunit/test.h>

#include "../virtbuf_drv.h"

static struct virtbuf_device *device_of(struct kunit *test)
{
	struct virtbuf_device *vb = kunit_kzalloc(test, sizeof(*vb),
						  GFP_KERNEL);

	KUNIT_ASSERT_NOT_NULL(test, vb);
	virtbuf_quota_init(vb);
	return vb;
}

static void put_account(void *account)
{
	virtbuf_account_put(account);
}

/* Of one more open file of the same user; put with the test */
static struct virtbuf_account *account_of(struct kunit *test,
					  struct virtbuf_device *vb)
{
	struct virtbuf_account *account = virtbuf_account_create(vb);

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, account);
	KUNIT_ASSERT_EQ(test, kunit_add_action_or_reset(test, put_account,
							account), 0);
	return account;
}

static u64 limit_of(struct kunit *test, enum virtbuf_scope scope,
		    enum virtbuf_quota quota)
{
	u64 limit = 0;

	KUNIT_ASSERT_EQ(test,
			virtbuf_quota_param(DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES +
					    scope * VIRTBUF_QUOTA_COUNT + quota,
					    &limit), 0);
	return limit;
}

static void virtbuf_test_quota_of_a_file(struct kunit *test)
{
	struct virtbuf_device *vb = device_of(test);
	struct virtbuf_account *file = account_of(test, vb);
	u64 limit = limit_of(test, VIRTBUF_SCOPE_FILE, VIRTBUF_QUOTA_BYTES);

	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file, VIRTBUF_QUOTA_BYTES,
						     limit + 1), -ENOSPC);
	KUNIT_EXPECT_EQ(test, file->used[VIRTBUF_QUOTA_BYTES], 0);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file, VIRTBUF_QUOTA_BYTES,
						     limit), 0);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file, VIRTBUF_QUOTA_BYTES,
						     1), -ENOSPC);
	KUNIT_EXPECT_EQ(test, file->used[VIRTBUF_QUOTA_BYTES], limit);
	KUNIT_EXPECT_EQ(test, vb->account.used[VIRTBUF_QUOTA_BYTES], limit);

	virtbuf_account_uncharge(file, VIRTBUF_QUOTA_BYTES, 1);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file, VIRTBUF_QUOTA_BYTES,
						     1), 0);
	virtbuf_account_uncharge(file, VIRTBUF_QUOTA_BYTES, limit);
	KUNIT_EXPECT_EQ(test, vb->account.used[VIRTBUF_QUOTA_BYTES], 0);
}

static void virtbuf_test_quota_does_not_wrap(struct kunit *test)
{
	struct virtbuf_device *vb = device_of(test);
	struct virtbuf_account *file = account_of(test, vb);

	KUNIT_ASSERT_EQ(test, virtbuf_account_charge(file, VIRTBUF_QUOTA_BYTES,
						     4096), 0);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file, VIRTBUF_QUOTA_BYTES,
						     U64_MAX), -ENOSPC);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file, VIRTBUF_QUOTA_BYTES,
						     U64_MAX - 4095), -ENOSPC);
	KUNIT_EXPECT_EQ(test, file->used[VIRTBUF_QUOTA_BYTES], 4096);
}

/* Files of one user, each filled, until one of them gets less than its quota */
static void virtbuf_test_quota_of_a_user(struct kunit *test)
{
	struct virtbuf_device *vb = device_of(test);
	u64 per_file = limit_of(test, VIRTBUF_SCOPE_FILE,
				VIRTBUF_QUOTA_BUFFERS);
	u64 limit = min(limit_of(test, VIRTBUF_SCOPE_USER,
				 VIRTBUF_QUOTA_BUFFERS),
			limit_of(test, VIRTBUF_SCOPE_DEVICE,
				 VIRTBUF_QUOTA_BUFFERS));
	struct virtbuf_account *file = NULL;
	u64 used = 0;

	KUNIT_ASSERT_GT(test, per_file, 0);
	while (used < limit) {
		u64 amount = min(per_file, limit - used);

		file = account_of(test, vb);
		KUNIT_ASSERT_EQ(test, virtbuf_account_charge(file,
							     VIRTBUF_QUOTA_BUFFERS,
							     amount), 0);
		used += amount;
	}
	file = account_of(test, vb);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file,
						     VIRTBUF_QUOTA_BUFFERS, 1),
			-ENOSPC);
	KUNIT_EXPECT_EQ(test, file->used[VIRTBUF_QUOTA_BUFFERS], 0);
	KUNIT_EXPECT_EQ(test, vb->account.used[VIRTBUF_QUOTA_BUFFERS], limit);
}

static void virtbuf_test_quotas_are_apart(struct kunit *test)
{
	struct virtbuf_device *vb = device_of(test);
	struct virtbuf_account *file = account_of(test, vb);
	u64 limit = limit_of(test, VIRTBUF_SCOPE_FILE,
			     VIRTBUF_QUOTA_PROPERTY_BYTES);

	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file,
						     VIRTBUF_QUOTA_PROPERTY_BYTES,
						     limit), 0);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file, VIRTBUF_QUOTA_BYTES,
						     1), 0);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file,
						     VIRTBUF_QUOTA_BUFFERS, 1),
			0);
}

static void virtbuf_test_quota_of_another_file(struct kunit *test)
{
	struct virtbuf_device *vb = device_of(test);
	struct virtbuf_account *full = account_of(test, vb);
	struct virtbuf_account *other = account_of(test, vb);
	u64 limit = limit_of(test, VIRTBUF_SCOPE_FILE,
			     VIRTBUF_QUOTA_BUFFERS);

	KUNIT_ASSERT_LT(test, limit, limit_of(test, VIRTBUF_SCOPE_USER,
					      VIRTBUF_QUOTA_BUFFERS));
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(full,
						     VIRTBUF_QUOTA_BUFFERS,
						     limit), 0);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(other,
						     VIRTBUF_QUOTA_BUFFERS, 1),
			0);
}

/* Too much that the host keeps: nothing new, until it gives one back */
static void virtbuf_test_quota_of_pending(struct kunit *test)
{
	struct virtbuf_device *vb = device_of(test);
	struct virtbuf_account *file = account_of(test, vb);
	u64 i, limit = limit_of(test, VIRTBUF_SCOPE_FILE,
				VIRTBUF_QUOTA_PENDING);

	for (i = 0; i < limit; i++) {
		KUNIT_ASSERT_EQ(test, virtbuf_account_charge(file,
							     VIRTBUF_QUOTA_BUFFERS,
							     1), 0);
		virtbuf_account_add_pending(file);
	}
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file,
						     VIRTBUF_QUOTA_BUFFERS, 1),
			-ENOSPC);
	/* Leaving more behind cannot be refused */
	virtbuf_account_add_pending(file);
	virtbuf_account_uncharge(file, VIRTBUF_QUOTA_PENDING, 1);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file,
						     VIRTBUF_QUOTA_BUFFERS, 1),
			-ENOSPC);
	virtbuf_account_uncharge(file, VIRTBUF_QUOTA_PENDING, 1);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(file,
						     VIRTBUF_QUOTA_BUFFERS, 1),
			0);
}

/* Who closes a file and opens another one takes what it left along */
static void virtbuf_test_quota_outlives_the_file(struct kunit *test)
{
	struct virtbuf_device *vb = device_of(test);
	struct virtbuf_account *closed = virtbuf_account_create(vb);
	struct virtbuf_account *open = account_of(test, vb);
	u64 limit = limit_of(test, VIRTBUF_SCOPE_FILE, VIRTBUF_QUOTA_BYTES);
	struct virtbuf_account *user = open->parent;

	KUNIT_ASSERT_NOT_ERR_OR_NULL(test, closed);
	KUNIT_EXPECT_PTR_EQ(test, closed->parent, user);
	/* The reference of a buffer that is PENDING */
	virtbuf_account_get(closed);
	KUNIT_EXPECT_EQ(test, virtbuf_account_charge(closed,
						     VIRTBUF_QUOTA_BYTES,
						     limit), 0);
	virtbuf_account_put(closed);
	KUNIT_EXPECT_EQ(test, user->used[VIRTBUF_QUOTA_BYTES], limit);

	virtbuf_account_uncharge(closed, VIRTBUF_QUOTA_BYTES, limit);
	virtbuf_account_put(closed);
	KUNIT_EXPECT_EQ(test, user->used[VIRTBUF_QUOTA_BYTES], 0);
}

static void virtbuf_test_quota_params(struct kunit *test)
{
	u64 value = 7;

	KUNIT_EXPECT_EQ(test,
			virtbuf_quota_param(DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES -
					    1, &value), -EINVAL);
	KUNIT_EXPECT_EQ(test,
			virtbuf_quota_param(DRM_VIRTBUF_PARAM_QUOTA_DEVICE_PROPERTY_BYTES +
					    1, &value), -EINVAL);
	KUNIT_EXPECT_EQ(test, virtbuf_quota_param(U64_MAX, &value), -EINVAL);
	KUNIT_EXPECT_EQ(test, value, 7);
}

static struct kunit_case virtbuf_quota_tests[] = {
	KUNIT_CASE(virtbuf_test_quota_of_a_file),
	KUNIT_CASE(virtbuf_test_quota_does_not_wrap),
	KUNIT_CASE(virtbuf_test_quota_of_a_user),
	KUNIT_CASE(virtbuf_test_quotas_are_apart),
	KUNIT_CASE(virtbuf_test_quota_of_another_file),
	KUNIT_CASE(virtbuf_test_quota_of_pending),
	KUNIT_CASE(virtbuf_test_quota_outlives_the_file),
	KUNIT_CASE(virtbuf_test_quota_params),
	{ }
};

static struct kunit_suite virtbuf_quota_suite = {
	.name = "virtbuf_quota",
	.test_cases = virtbuf_quota_tests,
};

kunit_test_suite(virtbuf_quota_suite);
