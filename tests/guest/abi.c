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

SIZE(drm_virtbuf_getparam, 16);
SIZE(drm_virtbuf_bo_create, 16);
AT(drm_virtbuf_bo_create, handle, 12);
SIZE(drm_virtbuf_bo_map, 16);
AT(drm_virtbuf_bo_map, offset, 8);
SIZE(drm_virtbuf_bo_userptr, 24);
SIZE(drm_virtbuf_bo_range, 24);
AT(drm_virtbuf_bo_range, offset, 8);
SIZE(drm_virtbuf_property, 32);
AT(drm_virtbuf_property, name_len, 16);
AT(drm_virtbuf_property, flags, 24);
SIZE(drm_virtbuf_register, 96);
AT(drm_virtbuf_register, properties, 16);
AT(drm_virtbuf_register, application, 32);
AT(drm_virtbuf_register, stream, 44);
AT(drm_virtbuf_register, mode, 48);
AT(drm_virtbuf_register, buffer, 60);
AT(drm_virtbuf_register, buffer_id, 72);
AT(drm_virtbuf_register, uuid, 80);
SIZE(drm_virtbuf_unregister, 8);
SIZE(drm_virtbuf_set_properties, 24);
SIZE(drm_virtbuf_get_properties, 24);
SIZE(drm_virtbuf_rect, 16);
SIZE(drm_virtbuf_span, 16);
SIZE(drm_virtbuf_fence, 16);
SIZE(drm_virtbuf_update, 120);
AT(drm_virtbuf_update, data_offset, 8);
AT(drm_virtbuf_update, clock, 40);
AT(drm_virtbuf_update, rects, 48);
AT(drm_virtbuf_update, spans, 56);
AT(drm_virtbuf_update, properties, 72);
AT(drm_virtbuf_update, in_fences, 88);
AT(drm_virtbuf_update, release_point, 104);
AT(drm_virtbuf_update, serial, 112);
SIZE(drm_virtbuf_wait_item, 16);
SIZE(drm_virtbuf_wait, 32);
AT(drm_virtbuf_wait, timeout_ns, 16);
AT(drm_virtbuf_wait, first, 28);
SIZE(drm_virtbuf_consumers, 32);
SIZE(drm_virtbuf_events, 16);
SIZE(drm_virtbuf_event, 32);

SIZE(virtio_buf_config, 128);
AT(virtio_buf_config, max_buffer_size, 16);
AT(virtio_buf_config, max_dmabuf_size, 32);
AT(virtio_buf_config, instance, 64);
SIZE(virtio_buf_property, 8);
SIZE(virtio_buf_register, 112);
AT(virtio_buf_register, application, 48);
SIZE(virtio_buf_frame, 64);
SIZE(virtio_buf_consumer, 16);

_Static_assert(DRM_IOCTL_VIRTBUF_GETPARAM == 0xc0106440, "GETPARAM");
_Static_assert(DRM_IOCTL_VIRTBUF_BO_CREATE == 0xc0106441, "BO_CREATE");
_Static_assert(DRM_IOCTL_VIRTBUF_REGISTER == 0xc0606444, "REGISTER");
_Static_assert(DRM_IOCTL_VIRTBUF_UPDATE == 0xc0786448, "UPDATE");
_Static_assert(DRM_IOCTL_VIRTBUF_WAIT == 0xc0206449, "WAIT");
_Static_assert(DRM_IOCTL_VIRTBUF_EVENTS == 0x4010644b, "EVENTS");
