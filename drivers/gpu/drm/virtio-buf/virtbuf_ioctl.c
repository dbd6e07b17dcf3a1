// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: ioctls that are not about contents: parameters, memory,
 * registering.
 *
 * Everything from user space is copied once, then checked whole, also where the
 * answer is EOPNOTSUPP. A result is written to the arguments only when nothing
 * can fail any more, because the DRM core copies them back after errors, too.
 * Waits for the host end with it: by its answer, by the watchdog or by unplug.
 */
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/uaccess.h>
#include <linux/virtio_config.h>

#include <drm/drm_drv.h>
#include <drm/drm_gem.h>

#include "virtbuf_drv.h"

static_assert(sizeof(struct drm_virtbuf_getparam) == 16);
static_assert(sizeof(struct drm_virtbuf_bo_create) == 16);
static_assert(sizeof(struct drm_virtbuf_bo_map) == 16);
static_assert(sizeof(struct drm_virtbuf_bo_userptr) == 24);
static_assert(sizeof(struct drm_virtbuf_bo_range) == 24);
static_assert(sizeof(struct drm_virtbuf_property) == 32);
static_assert(sizeof(struct drm_virtbuf_register) == 96);
static_assert(sizeof(struct drm_virtbuf_unregister) == 8);
static_assert(sizeof(struct drm_virtbuf_set_properties) == 24);
static_assert(sizeof(struct drm_virtbuf_get_properties) == 24);
static_assert(sizeof(struct drm_virtbuf_rect) == 16);
static_assert(sizeof(struct drm_virtbuf_span) == 16);
static_assert(sizeof(struct drm_virtbuf_fence) == 16);
static_assert(sizeof(struct drm_virtbuf_update) == 120);
static_assert(sizeof(struct drm_virtbuf_wait_item) == 16);
static_assert(sizeof(struct drm_virtbuf_wait) == 32);
static_assert(sizeof(struct drm_virtbuf_get_written) == 96);
static_assert(sizeof(struct drm_virtbuf_consumers) == 32);
static_assert(sizeof(struct drm_virtbuf_events) == 16);
static_assert(sizeof(struct drm_virtbuf_event) == 32);

static_assert(DRM_VIRTBUF_MODE_IN_PLACE == VIRTIO_BUF_MODE_IN_PLACE);
static_assert(DRM_VIRTBUF_MODE_LATEST == VIRTIO_BUF_MODE_LATEST);
static_assert(DRM_VIRTBUF_MODE_EVERY == VIRTIO_BUF_MODE_EVERY);
static_assert(DRM_VIRTBUF_ACCESS_READ == VIRTIO_BUF_ACCESS_READ);
static_assert(DRM_VIRTBUF_ACCESS_WRITER == VIRTIO_BUF_ACCESS_WRITER);
static_assert(DRM_VIRTBUF_BACKING_COPY == VIRTIO_BUF_BACKING_COPY);
static_assert(DRM_VIRTBUF_BACKING_DMABUF == VIRTIO_BUF_BACKING_DMABUF);
static_assert(DRM_VIRTBUF_UUID_SIZE == VIRTIO_BUF_UUID_SIZE);
static_assert(DRM_VIRTBUF_APPLICATION_MAX + 1 == VIRTIO_BUF_NAME_SIZE);

/**
 * virtbuf_copy_element - copies one element of a caller's array
 * @to: where to
 * @size: bytes of the element, as this kernel knows it
 * @array: user pointer
 * @stride: bytes of the element, as the caller knows it
 * @index: which one
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_copy_element(void *to, size_t size, u64 array, u32 stride,
			 u32 index)
{
	if (stride > PAGE_SIZE)
		return -E2BIG;
	return copy_struct_from_user(to, size,
				     u64_to_user_ptr(array +
						     (u64)stride * index),
				     stride);
}

static int virtbuf_read_consumers(struct virtbuf_device *vb, u64 *value)
{
	u32 consumers;
	int cookie;

	/* vdev is gone after unplug */
	if (!drm_dev_enter(vb->drm, &cookie))
		return -ENODEV;
	virtio_cread_le(vb->vdev, struct virtio_buf_config, consumers,
			&consumers);
	drm_dev_exit(cookie);
	*value = consumers;
	return 0;
}

/**
 * virtbuf_ioctl_getparam - DRM_IOCTL_VIRTBUF_GETPARAM
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_getparam
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_getparam(struct drm_device *drm, void *data,
			   struct drm_file *drm_file)
{
	struct virtbuf_device *vb = to_virtbuf(drm);
	struct drm_virtbuf_getparam *args = data;

	switch (args->param) {
	case DRM_VIRTBUF_PARAM_FEATURES:
		args->value = DRM_VIRTBUF_FEATURE_USERPTR |
			      DRM_VIRTBUF_FEATURE_FENCES |
			      DRM_VIRTBUF_FEATURE_POINTS |
			      DRM_VIRTBUF_FEATURE_EVENTS |
			      DRM_VIRTBUF_FEATURE_CONSUMERS;
		if (vb->writers)
			args->value |= DRM_VIRTBUF_FEATURE_WRITER;
		if (virtbuf_can_import(vb))
			args->value |= DRM_VIRTBUF_FEATURE_IMPORT;
		return 0;
	case DRM_VIRTBUF_PARAM_CONSUMERS:
		return virtbuf_read_consumers(vb, &args->value);
	case DRM_VIRTBUF_PARAM_PAGE_SIZE:
		/* What the host asks for divides it: see virtbuf_read_config() */
		args->value = PAGE_SIZE;
		return 0;
	case DRM_VIRTBUF_PARAM_MAX_BUFFERS:
		args->value = vb->limits.max_buffers;
		return 0;
	case DRM_VIRTBUF_PARAM_MAX_RANGES:
		args->value = vb->limits.max_ranges;
		return 0;
	case DRM_VIRTBUF_PARAM_MAX_BUFFER_SIZE:
		args->value = vb->limits.max_buffer_size;
		return 0;
	case DRM_VIRTBUF_PARAM_MAX_TOTAL_SIZE:
		args->value = vb->limits.max_total_size;
		return 0;
	case DRM_VIRTBUF_PARAM_MAX_PROPERTIES:
		args->value = vb->limits.max_properties;
		return 0;
	case DRM_VIRTBUF_PARAM_MAX_PROPERTY_BYTES:
		args->value = vb->limits.max_property_bytes;
		return 0;
	case DRM_VIRTBUF_PARAM_RELEASE_TIMEOUT_MS:
		args->value = vb->limits.release_timeout_ms;
		return 0;
	case DRM_VIRTBUF_PARAM_HOLD_TIMEOUT_MS:
		args->value = vb->limits.hold_timeout_ms;
		return 0;
	case DRM_VIRTBUF_PARAM_MAX_DMABUF_RANGES:
		args->value = vb->limits.max_dmabuf_ranges;
		return 0;
	case DRM_VIRTBUF_PARAM_MAX_DMABUF_SIZE:
		args->value = vb->limits.max_dmabuf_size;
		return 0;
	default:
		return virtbuf_quota_param(args->param, &args->value);
	}
}

/**
 * virtbuf_ioctl_bo_create - DRM_IOCTL_VIRTBUF_BO_CREATE
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_bo_create
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_bo_create(struct drm_device *drm, void *data,
			    struct drm_file *drm_file)
{
	struct virtbuf_device *vb = to_virtbuf(drm);
	struct drm_virtbuf_bo_create *args = data;
	struct virtbuf_bo *bo;
	u64 size = args->size;
	u32 handle;
	int ret;

	if (args->flags || !size)
		return -EINVAL;
	if (size > vb->limits.max_total_size || size > SIZE_MAX - PAGE_SIZE ||
	    size >> PAGE_SHIFT >= INT_MAX)
		return -E2BIG;
	size = PAGE_ALIGN(size);

	bo = virtbuf_bo_create(vb, size);
	if (IS_ERR(bo))
		return PTR_ERR(bo);
	ret = drm_gem_handle_create(drm_file, &bo->shmem.base, &handle);
	drm_gem_object_put(&bo->shmem.base);
	if (ret)
		return ret;

	args->size = size;
	args->handle = handle;
	return 0;
}

/**
 * virtbuf_ioctl_bo_map - DRM_IOCTL_VIRTBUF_BO_MAP
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_bo_map
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_bo_map(struct drm_device *drm, void *data,
			 struct drm_file *drm_file)
{
	struct drm_virtbuf_bo_map *args = data;
	struct drm_gem_object *obj;
	bool mappable;

	if (args->flags)
		return -EINVAL;
	obj = drm_gem_object_lookup(drm_file, args->handle);
	if (!obj)
		return -ENOENT;
	mappable = obj->funcs->mmap;
	drm_gem_object_put(obj);
	if (!mappable)
		return -EINVAL;
	return drm_gem_dumb_map_offset(drm_file, drm, args->handle,
				       &args->offset);
}

static enum virtbuf_state virtbuf_buffer_state(struct virtbuf_device *vb,
					       struct virtbuf_buffer *buffer)
{
	enum virtbuf_state state;

	spin_lock(&vb->lock);
	state = buffer->state;
	spin_unlock(&vb->lock);
	return state;
}

/**
 * virtbuf_copy_application - copies the name of an application
 * @to: room for DRM_VIRTBUF_APPLICATION_MAX bytes
 * @text: user pointer
 * @len: bytes
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_copy_application(u8 *to, u64 text, u32 len)
{
	if (!len || len > DRM_VIRTBUF_APPLICATION_MAX)
		return -EINVAL;
	if (copy_from_user(to, u64_to_user_ptr(text), len))
		return -EFAULT;
	return virtbuf_text_is_valid(to, len) ? 0 : -EINVAL;
}

static int virtbuf_copy_ranges(const struct drm_virtbuf_register *args,
			       struct drm_virtbuf_bo_range *ranges)
{
	u32 i;

	for (i = 0; i < args->range_count; i++) {
		int ret = virtbuf_copy_element(&ranges[i], sizeof(ranges[i]),
					       args->ranges,
					       args->range_stride, i);

		if (ret)
			return ret;
		if (ranges[i].pad || !ranges[i].size ||
		    !PAGE_ALIGNED(ranges[i].offset | ranges[i].size))
			return -EINVAL;
	}
	return 0;
}

static int virtbuf_add_bo_range(struct virtbuf_device *vb,
				struct virtbuf_buffer *buffer,
				struct drm_file *drm_file,
				const struct drm_virtbuf_bo_range *range)
{
	struct drm_gem_object *obj;
	struct virtbuf_bo *bo;
	int ret = 0;

	obj = drm_gem_object_lookup(drm_file, range->handle);
	if (!obj)
		return -ENOENT;
	bo = to_virtbuf_bo(obj);

	if (range->size > obj->size || range->offset > obj->size - range->size)
		ret = -EINVAL;
	else if (range->size > vb->limits.max_buffer_size - buffer->size)
		ret = -E2BIG;
	spin_lock(&vb->lock);
	if (!ret && bo->taking_back)
		ret = -EBUSY;
	spin_unlock(&vb->lock);
	if (!ret)
		ret = virtbuf_buffer_add_part(vb, buffer, bo, range->offset,
					      range->size);
	drm_gem_object_put(obj);
	return ret;
}

static int virtbuf_check_register(const struct drm_virtbuf_register *args)
{
	if (args->flags || args->mode > DRM_VIRTBUF_MODE_EVERY ||
	    args->access > DRM_VIRTBUF_ACCESS_WRITER)
		return -EINVAL;
	if (!args->range_count ||
	    args->range_count > DRM_VIRTBUF_MAX_BO_RANGES ||
	    args->range_stride < sizeof(struct drm_virtbuf_bo_range))
		return -EINVAL;
	return 0;
}

/*
 * Copies and checks everything of @args. Returns the command with its properties
 * and without its buffer, or an ERR_PTR().
 */
static struct virtbuf_registration *
virtbuf_registration_create(struct virtbuf_file *file,
			    const struct drm_virtbuf_register *args,
			    struct drm_virtbuf_bo_range *ranges)
{
	const struct virtbuf_limits *limits = &file->vb->limits;
	struct virtbuf_registration *registration;
	struct virtbuf_properties *properties;
	struct virtio_buf_register *request;
	int ret;

	registration = kzalloc(sizeof(*registration), GFP_KERNEL_ACCOUNT);
	if (!registration)
		return ERR_PTR(-ENOMEM);
	request = &registration->request;

	ret = virtbuf_check_register(args);
	if (!ret)
		ret = virtbuf_copy_ranges(args, ranges);
	if (!ret)
		ret = virtbuf_copy_application(request->application,
					       args->application,
					       args->application_len);
	if (ret)
		goto err;

	properties = virtbuf_properties_from_user(limits, args->properties,
						  args->property_count,
						  args->property_stride,
						  false);
	if (IS_ERR(properties)) {
		ret = PTR_ERR(properties);
		goto err;
	}
	registration->properties = properties;
	ret = -E2BIG;
	if (properties->count > limits->max_properties)
		goto err;
	ret = -EOPNOTSUPP;
	if (args->access == DRM_VIRTBUF_ACCESS_WRITER && !file->vb->writers)
		goto err;

	request->context = cpu_to_le32(file->context);
	if (args->stream)
		request->stream = cpu_to_le64((u64)file->context << 32 |
					      args->stream);
	request->mode = args->mode;
	request->access = args->access;
	return registration;

err:
	virtbuf_registration_free(registration);
	return ERR_PTR(ret);
}

static struct virtbuf_buffer *
virtbuf_buffer_of_ranges(struct virtbuf_file *file, struct drm_file *drm_file,
			 const struct virtio_buf_register *request,
			 const struct drm_virtbuf_bo_range *ranges, u32 count)
{
	struct virtbuf_buffer *buffer = virtbuf_buffer_create(file, request);
	u32 i;

	if (IS_ERR(buffer))
		return buffer;
	for (i = 0; i < count; i++) {
		int ret = virtbuf_add_bo_range(file->vb, buffer, drm_file,
					       &ranges[i]);

		if (ret) {
			virtbuf_buffer_discard(file->vb, buffer);
			return ERR_PTR(ret);
		}
	}
	return buffer;
}

/* Waits for the answer to REGISTER; killable */
static int virtbuf_wait_registered(struct virtbuf_file *file,
				   struct virtbuf_buffer *buffer)
{
	struct virtbuf_device *vb = file->vb;
	int ret;

	ret = wait_event_killable(file->wait,
				  virtbuf_buffer_state(vb, buffer) !=
				  VIRTBUF_REGISTERING || virtbuf_error(vb));
	if (ret)
		return ret;

	spin_lock(&vb->lock);
	ret = buffer->register_error;
	if (!ret && buffer->state != VIRTBUF_REGISTERED)
		ret = vb->error;
	spin_unlock(&vb->lock);
	return ret;
}

/*
 * Queues REGISTER of a new buffer for @handle, which is reserved already, and
 * takes @registration. Returns the buffer with a reference, or an ERR_PTR().
 */
static struct virtbuf_buffer *
virtbuf_register_ranges(struct virtbuf_file *file, struct drm_file *drm_file,
			const struct drm_virtbuf_register *args,
			const struct drm_virtbuf_bo_range *ranges,
			struct virtbuf_registration *registration, u32 handle)
{
	struct virtbuf_device *vb = file->vb;
	struct virtbuf_buffer *buffer;
	int ret, cookie;

	/* After unplug the parent device maps nothing any more */
	if (!drm_dev_enter(vb->drm, &cookie)) {
		virtbuf_registration_free(registration);
		return ERR_PTR(-ENODEV);
	}
	buffer = virtbuf_buffer_of_ranges(file, drm_file,
					  &registration->request, ranges,
					  args->range_count);
	if (IS_ERR(buffer)) {
		virtbuf_registration_free(registration);
		goto out;
	}
	buffer->handle = handle;
	buffer->properties = virtbuf_properties_get(registration->properties);
	registration->buffer = virtbuf_buffer_get(buffer);

	ret = virtbuf_buffer_register(vb, registration);
	if (ret) {
		virtbuf_registration_free(registration);
		virtbuf_buffer_discard(vb, buffer);
		buffer = ERR_PTR(ret);
	}
out:
	drm_dev_exit(cookie);
	return buffer;
}

/**
 * virtbuf_ioctl_register - DRM_IOCTL_VIRTBUF_REGISTER
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_register
 * @drm_file: the caller's
 *
 * Not restarted: whoever is killed while it waits leaves an orphan, which the
 * answer finds.
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_register(struct drm_device *drm, void *data,
			   struct drm_file *drm_file)
{
	struct drm_virtbuf_bo_range ranges[DRM_VIRTBUF_MAX_BO_RANGES];
	struct virtbuf_file *file = drm_file->driver_priv;
	struct drm_virtbuf_register *args = data;
	struct virtbuf_registration *registration;
	struct virtbuf_buffer *buffer;
	u32 handle;
	int ret;

	registration = virtbuf_registration_create(file, args, ranges);
	if (IS_ERR(registration))
		return PTR_ERR(registration);

	/* Reserved before anything is shared, filled when all is well */
	ret = xa_alloc_cyclic(&file->handles, &handle, NULL, xa_limit_31b,
			      &file->next_handle, GFP_KERNEL_ACCOUNT);
	if (ret < 0) {
		virtbuf_registration_free(registration);
		return ret;
	}
	buffer = virtbuf_register_ranges(file, drm_file, args, ranges,
					 registration, handle);
	if (IS_ERR(buffer)) {
		ret = PTR_ERR(buffer);
		goto err_handle;
	}
	ret = virtbuf_wait_registered(file, buffer);
	if (ret)
		goto err_buffer;

	args->buffer = handle;
	args->backing = buffer->backing;
	args->reason = buffer->reason;
	args->buffer_id = buffer->id;
	memcpy(args->uuid, buffer->uuid, sizeof(args->uuid));
	/* The handle takes the reference */
	xa_store(&file->handles, handle, buffer, GFP_KERNEL);
	return 0;

err_buffer:
	virtbuf_buffer_orphan(file->vb, buffer);
	virtbuf_buffer_put(buffer);
err_handle:
	xa_erase(&file->handles, handle);
	return ret;
}

/* Ends the handle of a buffer that is FREED */
static void virtbuf_drop_handle(struct virtbuf_file *file, u32 handle,
				struct virtbuf_buffer *buffer)
{
	struct virtbuf_device *vb = file->vb;

	if (xa_cmpxchg(&file->handles, handle, buffer, NULL, 0) != buffer)
		return;
	spin_lock(&vb->lock);
	buffer->file = NULL;
	spin_unlock(&vb->lock);
	virtbuf_buffer_put(buffer);
}

/**
 * virtbuf_ioctl_unregister - DRM_IOCTL_VIRTBUF_UNREGISTER
 * @drm: the DRM device
 * @data: &struct drm_virtbuf_unregister
 * @drm_file: the caller's
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_ioctl_unregister(struct drm_device *drm, void *data,
			     struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;
	struct drm_virtbuf_unregister *args = data;
	struct virtbuf_device *vb = file->vb;
	struct virtbuf_buffer *buffer;
	int ret;

	buffer = virtbuf_buffer_lookup(file, args->buffer);
	if (!buffer)
		return -ENOENT;

	ret = virtbuf_buffer_unregister(vb, buffer);
	if (!ret)
		ret = wait_event_killable(file->wait,
					  virtbuf_buffer_state(vb, buffer) >=
					  VIRTBUF_PENDING || virtbuf_error(vb));
	if (ret)
		goto out;

	switch (virtbuf_buffer_state(vb, buffer)) {
	case VIRTBUF_FREED:
		virtbuf_drop_handle(file, args->buffer, buffer);
		args->state = DRM_VIRTBUF_STATE_FREED;
		break;
	case VIRTBUF_PENDING:
		args->state = DRM_VIRTBUF_STATE_PENDING;
		break;
	default:
		ret = virtbuf_error(vb);
	}
out:
	virtbuf_buffer_put(buffer);
	return ret;
}
