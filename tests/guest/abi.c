/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * virtbuf-test: what must never change in the ABI. The numbers are those of
 * the first release, for 32 and 64 bits alike; a program built against it goes
 * on working as long as this compiles.
 */
#include <stddef.h>

#include "drm/virtbuf_drm.h"
#include "linux/virtio_buf.h"

#define SIZE(type, bytes) \
    _Static_assert(sizeof(struct type) == (bytes), #type " has another size")
#define AT(type, field, bytes) \
    _Static_assert(offsetof(struct type, field) == (bytes), \
                  #type "." #field " has moved")
#define NUMBER(name, value) \
    _Static_assert((name) == (value), #name " has another number")

SIZE(drm_virtbuf_getparam, 16);
AT(drm_virtbuf_getparam, value, 8);
SIZE(drm_virtbuf_bo_create, 16);
AT(drm_virtbuf_bo_create, flags, 8);
AT(drm_virtbuf_bo_create, handle, 12);
SIZE(drm_virtbuf_bo_map, 16);
AT(drm_virtbuf_bo_map, flags, 4);
AT(drm_virtbuf_bo_map, offset, 8);
SIZE(drm_virtbuf_bo_userptr, 24);
AT(drm_virtbuf_bo_userptr, size, 8);
AT(drm_virtbuf_bo_userptr, flags, 16);
AT(drm_virtbuf_bo_userptr, handle, 20);
SIZE(drm_virtbuf_bo_range, 24);
AT(drm_virtbuf_bo_range, pad, 4);
AT(drm_virtbuf_bo_range, offset, 8);
AT(drm_virtbuf_bo_range, size, 16);
SIZE(drm_virtbuf_property, 32);
AT(drm_virtbuf_property, value, 8);
AT(drm_virtbuf_property, name_len, 16);
AT(drm_virtbuf_property, value_len, 20);
AT(drm_virtbuf_property, flags, 24);
AT(drm_virtbuf_property, pad, 28);
SIZE(drm_virtbuf_register, 96);
AT(drm_virtbuf_register, range_count, 8);
AT(drm_virtbuf_register, range_stride, 12);
AT(drm_virtbuf_register, properties, 16);
AT(drm_virtbuf_register, property_count, 24);
AT(drm_virtbuf_register, property_stride, 28);
AT(drm_virtbuf_register, application, 32);
AT(drm_virtbuf_register, application_len, 40);
AT(drm_virtbuf_register, stream, 44);
AT(drm_virtbuf_register, mode, 48);
AT(drm_virtbuf_register, access, 52);
AT(drm_virtbuf_register, flags, 56);
AT(drm_virtbuf_register, buffer, 60);
AT(drm_virtbuf_register, backing, 64);
AT(drm_virtbuf_register, reason, 68);
AT(drm_virtbuf_register, buffer_id, 72);
AT(drm_virtbuf_register, uuid, 80);
SIZE(drm_virtbuf_unregister, 8);
AT(drm_virtbuf_unregister, state, 4);
SIZE(drm_virtbuf_set_properties, 24);
AT(drm_virtbuf_set_properties, flags, 4);
AT(drm_virtbuf_set_properties, properties, 8);
AT(drm_virtbuf_set_properties, property_count, 16);
AT(drm_virtbuf_set_properties, property_stride, 20);
SIZE(drm_virtbuf_get_properties, 24);
AT(drm_virtbuf_get_properties, count, 4);
AT(drm_virtbuf_get_properties, data, 8);
AT(drm_virtbuf_get_properties, size, 16);
AT(drm_virtbuf_get_properties, pad, 20);
SIZE(drm_virtbuf_rect, 16);
AT(drm_virtbuf_rect, y, 4);
AT(drm_virtbuf_rect, width, 8);
AT(drm_virtbuf_rect, height, 12);
SIZE(drm_virtbuf_span, 16);
AT(drm_virtbuf_span, len, 8);
SIZE(drm_virtbuf_fence, 16);
AT(drm_virtbuf_fence, flags, 4);
AT(drm_virtbuf_fence, point, 8);
SIZE(drm_virtbuf_update, 120);
AT(drm_virtbuf_update, flags, 4);
AT(drm_virtbuf_update, data_offset, 8);
AT(drm_virtbuf_update, data_size, 16);
AT(drm_virtbuf_update, pts, 24);
AT(drm_virtbuf_update, duration, 32);
AT(drm_virtbuf_update, clock, 40);
AT(drm_virtbuf_update, rect_count, 44);
AT(drm_virtbuf_update, rects, 48);
AT(drm_virtbuf_update, spans, 56);
AT(drm_virtbuf_update, span_count, 64);
AT(drm_virtbuf_update, property_count, 68);
AT(drm_virtbuf_update, properties, 72);
AT(drm_virtbuf_update, property_stride, 80);
AT(drm_virtbuf_update, in_fence_count, 84);
AT(drm_virtbuf_update, in_fences, 88);
AT(drm_virtbuf_update, in_fence_stride, 96);
AT(drm_virtbuf_update, release_syncobj, 100);
AT(drm_virtbuf_update, release_point, 104);
AT(drm_virtbuf_update, serial, 112);
SIZE(drm_virtbuf_wait_item, 16);
AT(drm_virtbuf_wait_item, condition, 4);
AT(drm_virtbuf_wait_item, value, 8);
SIZE(drm_virtbuf_wait, 32);
AT(drm_virtbuf_wait, count, 8);
AT(drm_virtbuf_wait, stride, 12);
AT(drm_virtbuf_wait, timeout_ns, 16);
AT(drm_virtbuf_wait, flags, 24);
AT(drm_virtbuf_wait, first, 28);
SIZE(drm_virtbuf_get_written, 96);
AT(drm_virtbuf_get_written, flags, 4);
AT(drm_virtbuf_get_written, serial, 8);
AT(drm_virtbuf_get_written, data_offset, 16);
AT(drm_virtbuf_get_written, data_size, 24);
AT(drm_virtbuf_get_written, pts, 32);
AT(drm_virtbuf_get_written, duration, 40);
AT(drm_virtbuf_get_written, clock, 48);
AT(drm_virtbuf_get_written, rect_count, 52);
AT(drm_virtbuf_get_written, rects, 56);
AT(drm_virtbuf_get_written, spans, 64);
AT(drm_virtbuf_get_written, span_count, 72);
AT(drm_virtbuf_get_written, property_count, 76);
AT(drm_virtbuf_get_written, properties, 80);
AT(drm_virtbuf_get_written, property_size, 88);
AT(drm_virtbuf_get_written, pad, 92);
SIZE(drm_virtbuf_consumers, 32);
AT(drm_virtbuf_consumers, application_len, 8);
AT(drm_virtbuf_consumers, count, 12);
AT(drm_virtbuf_consumers, data, 16);
AT(drm_virtbuf_consumers, size, 24);
AT(drm_virtbuf_consumers, flags, 28);
SIZE(drm_virtbuf_events, 16);
AT(drm_virtbuf_events, conditions, 4);
AT(drm_virtbuf_events, flags, 8);
AT(drm_virtbuf_events, pad, 12);
SIZE(drm_virtbuf_event, 32);
AT(drm_virtbuf_event, buffer, 8);
AT(drm_virtbuf_event, conditions, 12);
AT(drm_virtbuf_event, released, 16);
AT(drm_virtbuf_event, consumers, 24);
AT(drm_virtbuf_event, error, 28);

SIZE(virtio_buf_config, 128);
AT(virtio_buf_config, max_buffer_size, 16);
AT(virtio_buf_config, max_dmabuf_size, 32);
AT(virtio_buf_config, instance, 64);
SIZE(virtio_buf_property, 8);
SIZE(virtio_buf_register, 112);
AT(virtio_buf_register, application, 48);
SIZE(virtio_buf_frame, 64);
SIZE(virtio_buf_consumer, 16);

NUMBER(DRM_IOCTL_VIRTBUF_GETPARAM, 0xc0106440);
NUMBER(DRM_IOCTL_VIRTBUF_BO_CREATE, 0xc0106441);
NUMBER(DRM_IOCTL_VIRTBUF_BO_MAP, 0xc0106442);
NUMBER(DRM_IOCTL_VIRTBUF_BO_USERPTR, 0xc0186443);
NUMBER(DRM_IOCTL_VIRTBUF_REGISTER, 0xc0606444);
NUMBER(DRM_IOCTL_VIRTBUF_UNREGISTER, 0xc0086445);
NUMBER(DRM_IOCTL_VIRTBUF_SET_PROPERTIES, 0x40186446);
NUMBER(DRM_IOCTL_VIRTBUF_GET_PROPERTIES, 0xc0186447);
NUMBER(DRM_IOCTL_VIRTBUF_UPDATE, 0xc0786448);
NUMBER(DRM_IOCTL_VIRTBUF_WAIT, 0xc0206449);
NUMBER(DRM_IOCTL_VIRTBUF_CONSUMERS, 0xc020644a);
NUMBER(DRM_IOCTL_VIRTBUF_EVENTS, 0x4010644b);
NUMBER(DRM_IOCTL_VIRTBUF_GET_WRITTEN, 0xc060644c);

/* What the fields hold, as the header has described it since then */
NUMBER(DRM_VIRTBUF_PARAM_FEATURES, 0);
NUMBER(DRM_VIRTBUF_PARAM_CONSUMERS, 1);
NUMBER(DRM_VIRTBUF_PARAM_PAGE_SIZE, 2);
NUMBER(DRM_VIRTBUF_PARAM_MAX_BUFFERS, 3);
NUMBER(DRM_VIRTBUF_PARAM_MAX_RANGES, 4);
NUMBER(DRM_VIRTBUF_PARAM_MAX_BUFFER_SIZE, 5);
NUMBER(DRM_VIRTBUF_PARAM_MAX_TOTAL_SIZE, 6);
NUMBER(DRM_VIRTBUF_PARAM_MAX_PROPERTIES, 7);
NUMBER(DRM_VIRTBUF_PARAM_MAX_PROPERTY_BYTES, 8);
NUMBER(DRM_VIRTBUF_PARAM_RELEASE_TIMEOUT_MS, 9);
NUMBER(DRM_VIRTBUF_PARAM_HOLD_TIMEOUT_MS, 10);
NUMBER(DRM_VIRTBUF_PARAM_MAX_DMABUF_RANGES, 11);
NUMBER(DRM_VIRTBUF_PARAM_MAX_DMABUF_SIZE, 12);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_FILE_BYTES, 13);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_FILE_BUFFERS, 14);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_FILE_PENDING, 15);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_FILE_PROPERTY_BYTES, 16);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_USER_BYTES, 17);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_USER_BUFFERS, 18);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_USER_PENDING, 19);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_USER_PROPERTY_BYTES, 20);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_DEVICE_BYTES, 21);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_DEVICE_BUFFERS, 22);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_DEVICE_PENDING, 23);
NUMBER(DRM_VIRTBUF_PARAM_QUOTA_DEVICE_PROPERTY_BYTES, 24);

NUMBER(DRM_VIRTBUF_FEATURE_IMPORT, 1);
NUMBER(DRM_VIRTBUF_FEATURE_USERPTR, 2);
NUMBER(DRM_VIRTBUF_FEATURE_FENCES, 4);
NUMBER(DRM_VIRTBUF_FEATURE_POINTS, 8);
NUMBER(DRM_VIRTBUF_FEATURE_EVENTS, 16);
NUMBER(DRM_VIRTBUF_FEATURE_CONSUMERS, 32);
NUMBER(DRM_VIRTBUF_FEATURE_WRITER, 64);

NUMBER(DRM_VIRTBUF_PROPERTY_DELETE, 1);
NUMBER(DRM_VIRTBUF_MODE_IN_PLACE, 0);
NUMBER(DRM_VIRTBUF_MODE_LATEST, 1);
NUMBER(DRM_VIRTBUF_MODE_EVERY, 2);
NUMBER(DRM_VIRTBUF_ACCESS_READ, 0);
NUMBER(DRM_VIRTBUF_ACCESS_WRITER, 1);
NUMBER(DRM_VIRTBUF_BACKING_COPY, 0);
NUMBER(DRM_VIRTBUF_BACKING_DMABUF, 1);
NUMBER(DRM_VIRTBUF_STATE_FREED, 0);
NUMBER(DRM_VIRTBUF_STATE_PENDING, 1);
NUMBER(DRM_VIRTBUF_FENCE_SYNC_FILE, 1);
NUMBER(DRM_VIRTBUF_UPDATE_KEYFRAME, 0x1);
NUMBER(DRM_VIRTBUF_UPDATE_DISCONTINUITY, 0x2);
NUMBER(DRM_VIRTBUF_UPDATE_END_OF_STREAM, 0x4);
NUMBER(DRM_VIRTBUF_UPDATE_ERROR, 0x8);
NUMBER(DRM_VIRTBUF_UPDATE_NO_IMPLICIT_SYNC, 0x10000);
NUMBER(DRM_VIRTBUF_UPDATE_WAIT_FENCES, 0x20000);
NUMBER(DRM_VIRTBUF_CLOCK_NONE, 0);
NUMBER(DRM_VIRTBUF_CLOCK_STREAM, 1);
NUMBER(DRM_VIRTBUF_CLOCK_MONOTONIC, 2);
NUMBER(DRM_VIRTBUF_CLOCK_REALTIME, 3);
NUMBER(DRM_VIRTBUF_CLOCK_TAI, 4);
NUMBER(DRM_VIRTBUF_WAIT_RELEASED, 0);
NUMBER(DRM_VIRTBUF_WAIT_FREED, 1);
NUMBER(DRM_VIRTBUF_WAIT_CONSUMERS, 2);
NUMBER(DRM_VIRTBUF_WAIT_WRITTEN, 3);
NUMBER(DRM_VIRTBUF_WAIT_ALL, 1);
NUMBER(DRM_VIRTBUF_EVENT_BUFFER, 0x80000000);
NUMBER(DRM_VIRTBUF_EVENT_OVERFLOW, 0x80000001);

NUMBER(DRM_VIRTBUF_MAX_BO_RANGES, 4);
NUMBER(DRM_VIRTBUF_MAX_DAMAGE, 16);
NUMBER(DRM_VIRTBUF_MAX_WAIT_ITEMS, 64);
NUMBER(DRM_VIRTBUF_APPLICATION_MAX, 63);
NUMBER(DRM_VIRTBUF_UUID_SIZE, 16);

/* REGISTER tells them as they come from the device */
NUMBER(VIRTIO_BUF_REASON_NONE, 0);
NUMBER(VIRTIO_BUF_REASON_DISABLED, 1);
NUMBER(VIRTIO_BUF_REASON_NO_UDMABUF, 2);
NUMBER(VIRTIO_BUF_REASON_NOT_SHARED, 3);
NUMBER(VIRTIO_BUF_REASON_HUGE_PAGES, 4);
NUMBER(VIRTIO_BUF_REASON_DISCARD, 5);
NUMBER(VIRTIO_BUF_REASON_OVERLAP, 6);
NUMBER(VIRTIO_BUF_REASON_RANGES, 7);
NUMBER(VIRTIO_BUF_REASON_SIZE, 8);
NUMBER(VIRTIO_BUF_REASON_IOMMU, 9);
NUMBER(VIRTIO_BUF_REASON_ACCELERATOR, 10);
NUMBER(VIRTIO_BUF_REASON_ORPHANED, 11);
NUMBER(VIRTIO_BUF_REASON_READONLY, 12);
NUMBER(VIRTIO_BUF_REASON_WEAK, 13);
NUMBER(VIRTIO_BUF_REASON_FAILED, 14);
