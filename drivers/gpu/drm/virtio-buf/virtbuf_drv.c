// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: programs of this machine share buffers with programs on the host.
 *
 * This file binds the virtio device to a DRM device, and unbinds it; how the
 * device is stopped is in virtbuf_pm.c. Open files and objects live on after that,
 * without the device.
 *
 * The device is trusted with the memory of the guest, which it can reach anyhow,
 * and with nothing else: limits are checked here, answers in virtbuf_vq.c.
 */
#include <linux/cc_platform.h>
#include <linux/dma-mapping.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/slab.h>
#include <linux/virtio_config.h>

#include <drm/drm_drv.h>
#include <drm/drm_gem.h>
#include <drm/drm_gem_shmem_helper.h>
#include <drm/drm_ioctl.h>
#include <drm/drm_managed.h>
#include <drm/drm_print.h>

#include "virtbuf_drv.h"

static int virtbuf_open(struct drm_device *drm, struct drm_file *drm_file)
{
	struct virtbuf_device *vb = to_virtbuf(drm);
	struct virtbuf_file *file;
	int context;

	file = kzalloc(sizeof(*file), GFP_KERNEL_ACCOUNT);
	if (!file)
		return -ENOMEM;
	file->account = virtbuf_account_create(vb);
	if (IS_ERR(file->account)) {
		int ret = PTR_ERR(file->account);

		kfree(file);
		return ret;
	}
	context = ida_alloc_min(&vb->contexts, 1, GFP_KERNEL);
	if (context < 0) {
		virtbuf_account_put(file->account);
		kfree(file);
		return context;
	}
	file->vb = vb;
	file->context = context;
	xa_init_flags(&file->handles, XA_FLAGS_ALLOC1);
	init_waitqueue_head(&file->wait);
	mutex_init(&file->read_lock);
	file->drm_file = drm_file;
	drm_file->driver_priv = file;

	spin_lock(&vb->lock);
	list_add_tail(&file->node, &vb->files);
	spin_unlock(&vb->lock);
	return 0;
}

static void virtbuf_postclose(struct drm_device *drm,
			      struct drm_file *drm_file)
{
	struct virtbuf_file *file = drm_file->driver_priv;
	struct virtbuf_device *vb = file->vb;
	struct virtbuf_buffer *buffer;
	unsigned long handle;

	xa_for_each(&file->handles, handle, buffer) {
		virtbuf_buffer_orphan(vb, buffer);
		virtbuf_buffer_put(buffer);
	}
	xa_destroy(&file->handles);

	spin_lock(&vb->lock);
	list_del(&file->node);
	spin_unlock(&vb->lock);
	ida_free(&vb->contexts, file->context);
	virtbuf_account_put(file->account);
	kfree(file);
}

static const struct drm_ioctl_desc virtbuf_ioctls[] = {
	DRM_IOCTL_DEF_DRV(VIRTBUF_GETPARAM, virtbuf_ioctl_getparam,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_BO_CREATE, virtbuf_ioctl_bo_create,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_BO_MAP, virtbuf_ioctl_bo_map,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_BO_USERPTR, virtbuf_ioctl_bo_userptr,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_REGISTER, virtbuf_ioctl_register,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_UNREGISTER, virtbuf_ioctl_unregister,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_SET_PROPERTIES, virtbuf_ioctl_set_properties,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_GET_PROPERTIES, virtbuf_ioctl_get_properties,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_UPDATE, virtbuf_ioctl_update,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_WAIT, virtbuf_ioctl_wait, DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_CONSUMERS, virtbuf_ioctl_consumers,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_EVENTS, virtbuf_ioctl_events,
			  DRM_RENDER_ALLOW),
	DRM_IOCTL_DEF_DRV(VIRTBUF_GET_WRITTEN, virtbuf_ioctl_get_written,
			  DRM_RENDER_ALLOW),
};

static const struct file_operations virtbuf_fops = {
	.owner = THIS_MODULE,
	.open = drm_open,
	.release = virtbuf_release,
	.unlocked_ioctl = drm_ioctl,
	.compat_ioctl = drm_compat_ioctl,
	.poll = virtbuf_poll,
	.read = virtbuf_read,
	.llseek = noop_llseek,
	.mmap = drm_gem_mmap,
	.show_fdinfo = drm_show_fdinfo,
	.fop_flags = FOP_UNSIGNED_OFFSET,
};

static const struct drm_driver virtbuf_drm_driver = {
	.driver_features = DRIVER_GEM | DRIVER_RENDER | DRIVER_SYNCOBJ |
			   DRIVER_SYNCOBJ_TIMELINE,
	.open = virtbuf_open,
	.postclose = virtbuf_postclose,
	.gem_create_object = virtbuf_gem_create_object,
	.gem_prime_import = virtbuf_prime_import,
	.gem_prime_import_sg_table = virtbuf_prime_import_sg_table,
	.dumb_create = drm_gem_shmem_dumb_create,
	.show_fdinfo = virtbuf_show_fdinfo,
	.ioctls = virtbuf_ioctls,
	.num_ioctls = ARRAY_SIZE(virtbuf_ioctls),
	.fops = &virtbuf_fops,
	.name = "virtio_buf",
	.desc = "virtio buffer sharing",
	.major = 1,
	.minor = 0,
};

static int virtbuf_read_config(struct virtbuf_device *vb)
{
	struct virtbuf_limits *limits = &vb->limits;
	struct virtio_device *vdev = vb->vdev;
	u32 page_size;
	size_t i;

#define VIRTBUF_READ(field, to) \
	virtio_cread_le(vdev, struct virtio_buf_config, field, to)
	VIRTBUF_READ(page_size, &page_size);
	VIRTBUF_READ(max_buffers, &limits->max_buffers);
	VIRTBUF_READ(max_ranges, &limits->max_ranges);
	VIRTBUF_READ(max_buffer_size, &limits->max_buffer_size);
	VIRTBUF_READ(max_total_size, &limits->max_total_size);
	VIRTBUF_READ(max_dmabuf_size, &limits->max_dmabuf_size);
	VIRTBUF_READ(max_dmabuf_ranges, &limits->max_dmabuf_ranges);
	VIRTBUF_READ(max_properties, &limits->max_properties);
	VIRTBUF_READ(max_property_bytes, &limits->max_property_bytes);
	VIRTBUF_READ(release_timeout_ms, &limits->release_timeout_ms);
	VIRTBUF_READ(hold_timeout_ms, &limits->hold_timeout_ms);
#undef VIRTBUF_READ
	vb->writers = virtio_has_feature(vdev, VIRTIO_BUF_F_WRITER);
	virtio_cread_bytes(vdev, offsetof(struct virtio_buf_config, instance),
			   vb->instance, sizeof(vb->instance) - 1);

	/*
	 * Memory comes in this machine's pages, so a host with larger ones could
	 * only take some of it, and only by chance.
	 */
	if (!is_power_of_2(page_size) || page_size > PAGE_SIZE) {
		dev_err(&vdev->dev,
			"the host's pages of %u bytes do not fit into ours of %lu\n",
			page_size, PAGE_SIZE);
		return -EINVAL;
	}
	limits->max_buffer_size = min(limits->max_buffer_size,
				      limits->max_total_size);
	if (!limits->max_buffers || !limits->max_ranges ||
	    limits->max_buffer_size < PAGE_SIZE) {
		dev_err(&vdev->dev, "the device's limits allow no buffer\n");
		return -EINVAL;
	}
	limits->max_ranges = min(limits->max_ranges, VIRTBUF_MAX_RANGES);
	limits->max_dmabuf_ranges = min(limits->max_dmabuf_ranges,
					limits->max_ranges);
	limits->max_dmabuf_size = min(limits->max_dmabuf_size,
				      limits->max_buffer_size);
	limits->max_property_bytes = min(limits->max_property_bytes,
					 VIRTIO_BUF_MAX_PROPERTY_BYTES);

	/* For sysfs, one line of text */
	for (i = 0; vb->instance[i]; i++) {
		if ((u8)vb->instance[i] < ' ' || vb->instance[i] == 0x7f)
			vb->instance[i] = '?';
	}
	return 0;
}

static struct virtbuf_device *virtbuf_create(struct virtio_device *vdev)
{
	struct device *parent = vdev->dev.parent;
	struct virtbuf_device *vb;
	struct drm_device *drm;

	/* The virtio device has no DMA ops: its parent is the device that does DMA */
	drm = drm_dev_alloc(&virtbuf_drm_driver, parent);
	if (IS_ERR(drm))
		return ERR_CAST(drm);
	vb = drmm_kzalloc(drm, sizeof(*vb), GFP_KERNEL);
	if (!vb) {
		drm_dev_put(drm);
		return ERR_PTR(-ENOMEM);
	}
	drm->dev_private = vb;
	vb->drm = drm;
	vb->vdev = vdev;
	spin_lock_init(&vb->lock);
	INIT_LIST_HEAD(&vb->files);
	xa_init(&vb->buffers);
	init_waitqueue_head(&vb->drained);
	ida_init(&vb->contexts);
	mutex_init(&vb->imports_lock);
	INIT_LIST_HEAD(&vb->imports);
	virtbuf_quota_init(vb);
	virtbuf_streams_init(vb);

	/* Runs may be as long as the device takes them: ranges have 64 bits */
	dma_set_max_seg_size(parent, min_t(size_t, UINT_MAX,
					   dma_max_mapping_size(parent)));
	return vb;
}

static ssize_t instance_show(struct device *dev, struct device_attribute *attr,
			     char *buf)
{
	struct virtbuf_device *vb = dev_to_virtio(dev)->priv;

	return sysfs_emit(buf, "%s\n", vb->instance);
}
static DEVICE_ATTR_RO(instance);

static struct attribute *virtbuf_attrs[] = {
	&dev_attr_instance.attr,
	NULL
};
ATTRIBUTE_GROUPS(virtbuf);

static int virtbuf_probe(struct virtio_device *vdev)
{
	struct virtbuf_device *vb;
	int ret;

	if (!virtio_has_feature(vdev, VIRTIO_F_VERSION_1)) {
		dev_err(&vdev->dev, "a legacy device cannot be used\n");
		return -ENODEV;
	}
	if (cc_platform_has(CC_ATTR_GUEST_MEM_ENCRYPT)) {
		dev_err(&vdev->dev,
			"the host cannot read this machine's encrypted memory\n");
		return -EOPNOTSUPP;
	}

	vb = virtbuf_create(vdev);
	if (IS_ERR(vb))
		return PTR_ERR(vb);
	vdev->priv = vb;
	ret = virtbuf_read_config(vb);
	if (ret)
		goto err_drm;
	/* Who hears of the DRM device looks for its name: driver.dev_groups is late */
	ret = device_add_groups(&vdev->dev, virtbuf_groups);
	if (ret)
		goto err_drm;
	ret = virtbuf_vq_init(vb);
	if (ret)
		goto err_groups;
	virtio_device_ready(vdev);

	ret = drm_dev_register(vb->drm, 0);
	if (ret)
		goto err_stop;
	ret = virtbuf_pm_init(vb);
	if (ret)
		goto err_unplug;
	virtbuf_config_changed(vb);
	return 0;

err_unplug:
	drm_dev_unplug(vb->drm);
err_stop:
	virtbuf_stop(vb);
	virtbuf_imports_detach(vb);
	virtbuf_vq_fini(vb);
err_groups:
	device_remove_groups(&vdev->dev, virtbuf_groups);
err_drm:
	drm_dev_put(vb->drm);
	return ret;
}

static void virtbuf_remove(struct virtio_device *vdev)
{
	struct virtbuf_device *vb = vdev->priv;

	virtbuf_pm_fini(vb);
	drm_dev_unplug(vb->drm);
	device_remove_groups(&vdev->dev, virtbuf_groups);
	virtbuf_stop(vb);
	virtbuf_imports_detach(vb);
	virtbuf_vq_fini(vb);
	drm_dev_put(vb->drm);
}

static void virtbuf_config_callback(struct virtio_device *vdev)
{
	virtbuf_config_changed(vdev->priv);
}

static const unsigned int virtbuf_features[] = {
	VIRTIO_BUF_F_WRITER,
};

static const struct virtio_device_id virtbuf_ids[] = {
	{ VIRTIO_ID_BUF, VIRTIO_DEV_ANY_ID },
	{ 0 },
};
MODULE_DEVICE_TABLE(virtio, virtbuf_ids);

static struct virtio_driver virtbuf_driver = {
	.driver.name = KBUILD_MODNAME,
	.id_table = virtbuf_ids,
	.feature_table = virtbuf_features,
	.feature_table_size = ARRAY_SIZE(virtbuf_features),
	.probe = virtbuf_probe,
	.remove = virtbuf_remove,
	.config_changed = virtbuf_config_callback,
#ifdef CONFIG_PM_SLEEP
	.freeze = virtbuf_freeze,
	.restore = virtbuf_restore,
#ifdef VIRTBUF_HAVE_RESET_PREPARE
	.reset_prepare = virtbuf_freeze,
	.reset_done = virtbuf_restore,
#endif
#endif
};
module_virtio_driver(virtbuf_driver);

MODULE_AUTHOR("The virtio-buf developers");
MODULE_DESCRIPTION("Virtio buffer sharing driver");
MODULE_LICENSE("GPL");
