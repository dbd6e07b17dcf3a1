// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: imports, memory of other drivers that came as a dma-buf.
 *
 * An import is attached for good: the exporter keeps the pages where they are
 * from the import on until the object is freed, and a buffer that the host has
 * holds the object. The attachment is static and without peer-to-peer, so that
 * exporters that can will move their memory to RAM or refuse. It ends before the
 * device does, because its mapping is the device's.
 *
 * Exporters are kernel code but not to be relied on: what they say is RAM is
 * looked up, where its addresses can be, and the device looks again. Nothing but
 * DMA addresses and lengths is read from their tables.
 */
#include <linux/device.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/ioport.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/slab.h>

#include <drm/drm_drv.h>
#include <drm/drm_gem.h>
#include <drm/drm_prime.h>
#include <drm/drm_print.h>

#include "virtbuf_drv.h"

/**
 * struct virtbuf_import - memory of another driver
 * @bo: its table is the attachment's
 * @node: in virtbuf_device.imports while it is attached, under imports_lock
 * @dma_buf: referenced: the object uses its reservation lock
 * @leaked: the host may have the pages for ever, so it stays attached
 */
struct virtbuf_import {
	struct virtbuf_bo bo;
	struct list_head node;
	struct dma_buf *dma_buf;
	bool leaked;
};

static struct virtbuf_import *to_virtbuf_import(struct virtbuf_bo *bo)
{
	return container_of(bo, struct virtbuf_import, bo);
}

static void virtbuf_import_detach(struct virtbuf_import *import)
{
	struct drm_gem_object *obj = &import->bo.shmem.base;

	list_del_init(&import->node);
	drm_prime_gem_destroy(obj, import->bo.sgt);
	obj->import_attach = NULL;
	import->bo.sgt = NULL;
}

static void virtbuf_import_free(struct drm_gem_object *obj)
{
	struct virtbuf_import *import = to_virtbuf_import(to_virtbuf_bo(obj));
	struct virtbuf_device *vb = to_virtbuf(obj->dev);

	mutex_lock(&vb->imports_lock);
	if (!list_empty(&import->node))
		virtbuf_import_detach(import);
	mutex_unlock(&vb->imports_lock);

	drm_gem_object_release(obj);
	dma_buf_put(import->dma_buf);
	kfree(import);
}

static enum drm_gem_object_status
virtbuf_import_status(struct drm_gem_object *obj)
{
	return DRM_GEM_OBJECT_RESIDENT;
}

static const struct drm_gem_object_funcs virtbuf_import_funcs = {
	.free = virtbuf_import_free,
	.status = virtbuf_import_status,
};

static int virtbuf_import_map(struct virtbuf_device *vb, struct virtbuf_bo *bo)
{
	return 0;
}

static void virtbuf_import_unmap(struct virtbuf_device *vb,
				 struct virtbuf_bo *bo, bool leak)
{
	if (leak)
		to_virtbuf_import(bo)->leaked = true;
}

static const struct virtbuf_bo_ops virtbuf_import_ops = {
	.map = virtbuf_import_map,
	.unmap = virtbuf_import_unmap,
};

/**
 * virtbuf_can_import - whether the device finds the memory of other drivers
 * @vb: the device
 *
 * A dma-buf is mapped for an IOMMU, where there is one: a device that does not use
 * it would take the addresses for something else.
 *
 * Return: whether it can.
 */
bool virtbuf_can_import(struct virtbuf_device *vb)
{
	return vb->dma_dev || !device_iommu_mapped(vb->drm->dev);
}

static int virtbuf_check_run(struct virtbuf_device *vb, dma_addr_t addr,
			     unsigned int len)
{
	struct device *dev = vb->drm->dev;

	if (!PAGE_ALIGNED(addr | len)) {
		drm_dbg_prime(vb->drm, "a dma-buf's memory has broken pages\n");
		return -EINVAL;
	}
	if (dma_need_sync(dev, addr)) {
		drm_dbg_prime(vb->drm,
			      "a dma-buf would be copied to bounce buffers\n");
		return -EOPNOTSUPP;
	}
	/* Behind an IOMMU only the device can tell what is there */
	if (!device_iommu_mapped(dev) &&
	    region_intersects(addr, len, IORESOURCE_SYSTEM_RAM,
			      IORES_DESC_NONE) != REGION_INTERSECTS) {
		drm_dbg_prime(vb->drm, "a dma-buf's memory is not RAM\n");
		return -ENXIO;
	}
	return 0;
}

static int virtbuf_check_import(struct virtbuf_device *vb, size_t size,
				struct sg_table *sgt)
{
	struct scatterlist *sg;
	unsigned int i;
	u64 total = 0;

	if (!virtbuf_can_import(vb)) {
		drm_dbg_prime(vb->drm,
			      "the device does not use its IOMMU, a dma-buf must\n");
		return -EOPNOTSUPP;
	}
	if (!size || !PAGE_ALIGNED(size)) {
		drm_dbg_prime(vb->drm, "a dma-buf ends inside of a page\n");
		return -EINVAL;
	}
	for_each_sgtable_dma_sg(sgt, sg, i) {
		int ret = virtbuf_check_run(vb, sg_dma_address(sg),
					    sg_dma_len(sg));

		if (ret)
			return ret;
		total += sg_dma_len(sg);
	}
	if (total != size) {
		drm_dbg_prime(vb->drm, "%llu bytes of a dma-buf of %zu are mapped\n",
			      total, size);
		return -ENXIO;
	}
	return 0;
}

/**
 * virtbuf_prime_import_sg_table - makes an object of a dma-buf's mapping
 * @drm: the DRM device
 * @attach: to the dma-buf, for the DRM device's parent
 * @sgt: its mapping
 *
 * Asks the host for nothing: the locks of all imports are held. Our own dma-bufs
 * do not come here: they are the same object again.
 *
 * Return: the object, or an ERR_PTR().
 */
struct drm_gem_object *
virtbuf_prime_import_sg_table(struct drm_device *drm,
			      struct dma_buf_attachment *attach,
			      struct sg_table *sgt)
{
	struct virtbuf_device *vb = to_virtbuf(drm);
	size_t size = attach->dmabuf->size;
	struct virtbuf_import *import;
	struct drm_gem_object *obj;
	int ret;

	ret = virtbuf_check_import(vb, size, sgt);
	if (ret)
		return ERR_PTR(ret);
	import = kzalloc(sizeof(*import), GFP_KERNEL_ACCOUNT);
	if (!import)
		return ERR_PTR(-ENOMEM);
	obj = &import->bo.shmem.base;
	obj->funcs = &virtbuf_import_funcs;
	drm_gem_private_object_init(drm, obj, size);
	import->bo.ops = &virtbuf_import_ops;
	import->bo.sgt = sgt;
	import->dma_buf = attach->dmabuf;
	get_dma_buf(import->dma_buf);

	mutex_lock(&vb->imports_lock);
	list_add_tail(&import->node, &vb->imports);
	mutex_unlock(&vb->imports_lock);
	return obj;
}

/**
 * virtbuf_prime_import - makes an object of a dma-buf, or finds our own
 * @drm: the DRM device
 * @dma_buf: the dma-buf
 *
 * Return: the object, or an ERR_PTR().
 */
struct drm_gem_object *virtbuf_prime_import(struct drm_device *drm,
					    struct dma_buf *dma_buf)
{
	struct drm_gem_object *obj;
	int cookie;

	/* What is attached later would not be found by virtbuf_imports_detach() */
	if (!drm_dev_enter(drm, &cookie))
		return ERR_PTR(-ENODEV);
	obj = drm_gem_prime_import(drm, dma_buf);
	drm_dev_exit(cookie);
	return obj;
}

/**
 * virtbuf_imports_detach - gives up all mappings of other drivers' memory
 * @vb: the device, unplugged, with no buffer left
 *
 * The objects live on until their handles are closed.
 */
void virtbuf_imports_detach(struct virtbuf_device *vb)
{
	struct virtbuf_import *import, *next;

	/* An ioctl that is older than the unplug may look at import_attach */
	mutex_lock(&vb->drm->object_name_lock);
	mutex_lock(&vb->imports_lock);
	list_for_each_entry_safe(import, next, &vb->imports, node) {
		if (!import->leaked)
			virtbuf_import_detach(import);
	}
	mutex_unlock(&vb->imports_lock);
	mutex_unlock(&vb->drm->object_name_lock);
}

/* As MODULE_IMPORT_NS(), whose argument is not a string before Linux 6.13 */
MODULE_INFO(import_ns, "DMA_BUF");
