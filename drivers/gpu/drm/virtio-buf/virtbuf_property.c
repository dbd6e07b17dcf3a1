// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: properties, the name=value text of a buffer.
 *
 * A list of properties is one immutable, reference-counted block of records in
 * the wire encoding: the same bytes go to the device, are merged into the next
 * list and are copied to user space. No locks are needed here. Lists come from
 * user space: every length is read once and checked before it is used.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "virtbuf_drv.h"

#define VIRTBUF_NAME_MAX	255

/**
 * virtbuf_text_is_valid - whether text is UTF-8 without NUL
 * @text: bytes, not terminated
 * @len: how many
 *
 * As RFC 3629 has it: no overlong forms, no surrogates, nothing above U+10FFFF.
 *
 * Return: whether it is.
 */
bool virtbuf_text_is_valid(const u8 *text, size_t len)
{
	static const u32 first[] = { 0, 0x80, 0x800, 0x10000 };
	const u8 *end = text + len;

	while (text < end) {
		u8 lead = *text++;
		unsigned int i, more;
		u32 code;

		if (!lead)
			return false;
		if (lead < 0x80)
			continue;
		if ((lead & 0xe0) == 0xc0)
			more = 1;
		else if ((lead & 0xf0) == 0xe0)
			more = 2;
		else if ((lead & 0xf8) == 0xf0)
			more = 3;
		else
			return false;
		if (end - text < more)
			return false;
		code = lead & (0x3f >> more);
		for (i = 0; i < more; i++) {
			if ((*text & 0xc0) != 0x80)
				return false;
			code = code << 6 | (*text++ & 0x3f);
		}
		if (code < first[more] || code > 0x10ffff ||
		    (code >= 0xd800 && code <= 0xdfff))
			return false;
	}
	return true;
}

static size_t virtbuf_record_size(size_t name_len, size_t value_len)
{
	return ALIGN(sizeof(struct virtio_buf_property) + name_len + value_len,
		     8);
}

static const struct virtio_buf_property *
virtbuf_record_at(const struct virtbuf_properties *list, u32 offset)
{
	return (const struct virtio_buf_property *)(list->data + offset);
}

static u32 virtbuf_record_bytes(const struct virtio_buf_property *record)
{
	return virtbuf_record_size(le16_to_cpu(record->name_len),
				   le32_to_cpu(record->value_len));
}

static bool virtbuf_same_name(const struct virtio_buf_property *a,
			      const struct virtio_buf_property *b)
{
	return a->name_len == b->name_len &&
	       !memcmp(a + 1, b + 1, le16_to_cpu(a->name_len));
}

/* The record of @list, before @end, that has the name of @record; or NULL */
static const struct virtio_buf_property *
virtbuf_find_name(const struct virtbuf_properties *list, u32 end,
		  const struct virtio_buf_property *record)
{
	u32 offset = 0;

	while (offset < end) {
		const struct virtio_buf_property *other =
			virtbuf_record_at(list, offset);

		if (virtbuf_same_name(other, record))
			return other;
		offset += virtbuf_record_bytes(other);
	}
	return NULL;
}

static struct virtbuf_properties *virtbuf_properties_alloc(u32 size)
{
	struct virtbuf_properties *list;

	list = kvzalloc(struct_size(list, data, size), GFP_KERNEL_ACCOUNT);
	if (list)
		refcount_set(&list->refs, 1);
	return list;
}

/* Appends one record, whose text is checked, to a list with room for it */
static int virtbuf_append_from_user(struct virtbuf_properties *list,
				    const struct drm_virtbuf_property *property)
{
	struct virtio_buf_property *record = (void *)(list->data + list->size);
	u8 *name = (u8 *)(record + 1);
	u8 *value = name + property->name_len;

	if (copy_from_user(name, u64_to_user_ptr(property->name),
			   property->name_len) ||
	    copy_from_user(value, u64_to_user_ptr(property->value),
			   property->value_len))
		return -EFAULT;
	if (!virtbuf_text_is_valid(name, property->name_len) ||
	    memchr(name, '=', property->name_len) ||
	    !virtbuf_text_is_valid(value, property->value_len))
		return -EINVAL;

	record->name_len = cpu_to_le16(property->name_len);
	record->flags = cpu_to_le16(property->flags &
				    DRM_VIRTBUF_PROPERTY_DELETE ?
				    VIRTIO_BUF_PROPERTY_DELETE : 0);
	record->value_len = cpu_to_le32(property->value_len);
	if (virtbuf_find_name(list, list->size, record))
		return -EINVAL;

	list->size += virtbuf_record_size(property->name_len,
					  property->value_len);
	list->count++;
	return 0;
}

static int virtbuf_check_property(const struct drm_virtbuf_property *property,
				  bool may_delete)
{
	if (property->flags & ~DRM_VIRTBUF_PROPERTY_DELETE || property->pad)
		return -EINVAL;
	if (property->flags & DRM_VIRTBUF_PROPERTY_DELETE &&
	    (!may_delete || property->value_len))
		return -EINVAL;
	if (!property->name_len || property->name_len > VIRTBUF_NAME_MAX)
		return -EINVAL;
	if (property->value_len > VIRTIO_BUF_MAX_PROPERTY_BYTES)
		return -E2BIG;
	return 0;
}

/**
 * virtbuf_properties_from_user - copies a list of properties
 * @limits: of the device
 * @list: user pointer to &struct drm_virtbuf_property
 * @count: elements, may be 0
 * @stride: bytes from one to the next, as the caller knows them
 * @may_delete: whether DRM_VIRTBUF_PROPERTY_DELETE is allowed
 *
 * Return: the records, which are the caller's to put, or an ERR_PTR().
 */
struct virtbuf_properties *
virtbuf_properties_from_user(const struct virtbuf_limits *limits, u64 list,
			     u32 count, u32 stride, bool may_delete)
{
	struct drm_virtbuf_property *properties;
	struct virtbuf_properties *result;
	size_t size = 0;
	u32 i;
	int ret;

	if (!count)
		return virtbuf_properties_alloc(0) ?: ERR_PTR(-ENOMEM);
	if (stride < sizeof(*properties))
		return ERR_PTR(-EINVAL);
	if (count > limits->max_property_bytes / virtbuf_record_size(1, 0))
		return ERR_PTR(-E2BIG);

	properties = kvmalloc_array(count, sizeof(*properties),
				    GFP_KERNEL_ACCOUNT);
	if (!properties)
		return ERR_PTR(-ENOMEM);

	for (i = 0; i < count; i++) {
		ret = virtbuf_copy_element(&properties[i],
					   sizeof(*properties), list, stride,
					   i);
		if (ret)
			goto err;
		ret = virtbuf_check_property(&properties[i], may_delete);
		if (ret)
			goto err;
		size += virtbuf_record_size(properties[i].name_len,
					    properties[i].value_len);
	}
	ret = -E2BIG;
	if (size > limits->max_property_bytes)
		goto err;

	ret = -ENOMEM;
	result = virtbuf_properties_alloc(size);
	if (!result)
		goto err;
	for (i = 0; i < count; i++) {
		ret = virtbuf_append_from_user(result, &properties[i]);
		if (ret) {
			virtbuf_properties_put(result);
			goto err;
		}
	}
	kvfree(properties);
	return result;

err:
	kvfree(properties);
	return ERR_PTR(ret);
}

/**
 * virtbuf_properties_from_device - copies property records of the device
 * @records: from the device, which may change them at any time
 * @size: bytes
 *
 * The lengths are checked, the text is not.
 *
 * Return: the records, which are the caller's to put, or an ERR_PTR(): -EPROTO
 * when they are no records.
 */
struct virtbuf_properties *
virtbuf_properties_from_device(const u8 *records, size_t size)
{
	struct virtbuf_properties *result = virtbuf_properties_alloc(size);

	if (!result)
		return ERR_PTR(-ENOMEM);
	memcpy(result->data, records, size);
	while (result->size < size) {
		const struct virtio_buf_property *record =
			virtbuf_record_at(result, result->size);
		size_t left = size - result->size;

		if (left < sizeof(*record) || !record->name_len ||
		    le32_to_cpu(record->value_len) > left ||
		    virtbuf_record_bytes(record) > left) {
			virtbuf_properties_put(result);
			return ERR_PTR(-EPROTO);
		}
		result->size += virtbuf_record_bytes(record);
		result->count++;
	}
	return result;
}

static void virtbuf_append(struct virtbuf_properties *list,
			   const struct virtio_buf_property *record)
{
	u32 bytes = virtbuf_record_bytes(record);

	memcpy(list->data + list->size, record, bytes);
	list->size += bytes;
	list->count++;
}

/**
 * virtbuf_properties_apply - what a buffer has after a change
 * @limits: of the device
 * @old: what it has before; NULL: nothing
 * @change: records to add, replace or delete
 *
 * A replaced property keeps its place, a new one comes last. The account of @old
 * is charged for the new list as well, and for both as long as there are both.
 *
 * Return: the new list, which is the caller's to put, or an ERR_PTR().
 */
struct virtbuf_properties *
virtbuf_properties_apply(const struct virtbuf_limits *limits,
			 const struct virtbuf_properties *old,
			 const struct virtbuf_properties *change)
{
	u32 old_size = old ? old->size : 0;
	struct virtbuf_properties *result;
	u32 offset;
	struct virtbuf_account *account;
	int ret;

	result = virtbuf_properties_alloc(old_size + change->size);
	if (!result)
		return ERR_PTR(-ENOMEM);

	for (offset = 0; offset < old_size;) {
		const struct virtio_buf_property *record =
			virtbuf_record_at(old, offset);
		const struct virtio_buf_property *other =
			virtbuf_find_name(change, change->size, record);

		offset += virtbuf_record_bytes(record);
		if (!other)
			virtbuf_append(result, record);
		else if (!other->flags)
			virtbuf_append(result, other);
	}
	for (offset = 0; offset < change->size;) {
		const struct virtio_buf_property *record =
			virtbuf_record_at(change, offset);

		offset += virtbuf_record_bytes(record);
		if (!record->flags &&
		    !(old && virtbuf_find_name(old, old_size, record)))
			virtbuf_append(result, record);
	}

	if (result->count > limits->max_properties ||
	    result->size > limits->max_property_bytes) {
		ret = -E2BIG;
		goto err;
	}
	account = old ? READ_ONCE(old->account) : NULL;
	if (account) {
		ret = virtbuf_properties_charge(result, account);
		if (ret)
			goto err;
	}
	return result;

err:
	virtbuf_properties_put(result);
	return ERR_PTR(ret);
}

/**
 * virtbuf_properties_charge - makes a list count
 * @properties: a list for which nobody is charged
 * @account: whose it is; takes a reference
 *
 * The list is charged until virtbuf_properties_uncharge(), or until its last user
 * has put it.
 *
 * Return: 0 or -ENOSPC.
 */
int virtbuf_properties_charge(struct virtbuf_properties *properties,
			      struct virtbuf_account *account)
{
	int ret = virtbuf_account_charge(account,
					 VIRTBUF_QUOTA_PROPERTY_BYTES,
					 properties->size);

	if (!ret)
		properties->account = virtbuf_account_get(account);
	return ret;
}

/**
 * virtbuf_properties_uncharge - makes a list count no more
 * @properties: a list, which may still have users
 */
void virtbuf_properties_uncharge(struct virtbuf_properties *properties)
{
	struct virtbuf_account *account = xchg(&properties->account, NULL);

	if (!account)
		return;
	virtbuf_account_uncharge(account, VIRTBUF_QUOTA_PROPERTY_BYTES,
				 properties->size);
	virtbuf_account_put(account);
}

/**
 * virtbuf_properties_get - takes a reference
 * @properties: a list
 *
 * Return: @properties.
 */
struct virtbuf_properties *
virtbuf_properties_get(struct virtbuf_properties *properties)
{
	refcount_inc(&properties->refs);
	return properties;
}

/**
 * virtbuf_properties_put - gives a reference back
 * @properties: a list; NULL does nothing
 */
void virtbuf_properties_put(struct virtbuf_properties *properties)
{
	if (!properties || !refcount_dec_and_test(&properties->refs))
		return;
	virtbuf_properties_uncharge(properties);
	kvfree(properties);
}
