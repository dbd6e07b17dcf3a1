// SPDX-License-Identifier: GPL-2.0-only
/*
 * virtio-buf: buffer objects, guest memory before and while it is shared.
 *
 * One structure, and struct virtbuf_bo_ops for what differs. BO_CREATE takes
 * pages in the longest runs that the machine has, because the host describes a
 * buffer by its runs and shmem gives them page by page; they exist as long as the
 * object. Dumb buffers are plain shmem objects, whose pages are pinned while they
 * are part of a buffer. Users map both by PFN, so that nobody gets references to
 * pages. virtbuf_import.c and virtbuf_userptr.c have the memory of others.
 */
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/iosys-map.h>
#include <linux/mm.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include <drm/drm_gem.h>
#include <drm/drm_prime.h>

#include "virtbuf_drv.h"

/* Runs of 2 MiB are long enough: a 4K frame has 16 of them */
#define VIRTBUF_MAX_ORDER	min_t(unsigned int, MAX_PAGE_ORDER, \
				      get_order(SZ_2M))
/* Below this, compacting memory costs more than the ranges that it saves */
#define VIRTBUF_WORTHY_ORDER	4
/* Pages around a fault that are mapped with it */
#define VIRTBUF_FAULT_AROUND	16

static unsigned long virtbuf_bo_page_count(const struct virtbuf_bo *bo)
{
	return bo->shmem.base.size >> PAGE_SHIFT;
}

static void virtbuf_bo_free_pages(struct virtbuf_bo *bo)
{
	unsigned long i = 0, count = virtbuf_bo_page_count(bo);

	while (i < count && bo->pages[i]) {
		unsigned int order = compound_order(bo->pages[i]);

		__free_pages(bo->pages[i], order);
		memset(&bo->pages[i], 0, sizeof(*bo->pages) << order);
		i += 1UL << order;
	}
}

/* Allocates all pages, long runs first. @effort is for worthy orders. */
static int virtbuf_bo_alloc_pages(struct virtbuf_bo *bo, gfp_t effort)
{
	unsigned long i = 0, count = virtbuf_bo_page_count(bo);
	unsigned int order = VIRTBUF_MAX_ORDER;
	int ret;

	while (i < count) {
		gfp_t gfp = GFP_HIGHUSER | __GFP_ZERO | __GFP_ACCOUNT |
			    __GFP_NOWARN;
		struct page *page;
		unsigned int j;

		if (fatal_signal_pending(current)) {
			ret = -EINTR;
			goto err;
		}
		order = min_t(unsigned int, order, ilog2(count - i));
		if (order)
			gfp |= __GFP_COMP;
		if (order >= VIRTBUF_WORTHY_ORDER)
			gfp |= effort;
		else
			gfp |= order ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL;

		page = alloc_pages(gfp, order);
		if (!page && order) {
			order--;
			continue;
		}
		if (!page) {
			ret = -ENOMEM;
			goto err;
		}
		for (j = 0; j < 1U << order; j++)
			bo->pages[i++] = page + j;
		cond_resched();
	}
	return 0;

err:
	virtbuf_bo_free_pages(bo);
	return ret;
}

static unsigned long virtbuf_bo_runs(const struct virtbuf_bo *bo)
{
	unsigned long i, runs = 1, count = virtbuf_bo_page_count(bo);

	for (i = 1; i < count; i++)
		runs += page_to_pfn(bo->pages[i]) !=
			page_to_pfn(bo->pages[i - 1]) + 1;
	return runs;
}

static void virtbuf_bo_free(struct drm_gem_object *obj)
{
	struct virtbuf_bo *bo = to_virtbuf_bo(obj);

	virtbuf_bo_free_pages(bo);
	drm_gem_object_release(obj);
	kvfree(bo->pages);
	kfree(bo);
}

/*
 * Whether another device may be told of the pages. While they are taken back the
 * host may replace them: what a device writes meanwhile would be lost.
 */
static int virtbuf_bo_may_map(struct virtbuf_bo *bo)
{
	struct virtbuf_device *vb = to_virtbuf(bo->shmem.base.dev);
	bool taking_back;

	spin_lock(&vb->lock);
	taking_back = bo->taking_back;
	spin_unlock(&vb->lock);
	return taking_back ? -EBUSY : 0;
}

static struct sg_table *virtbuf_bo_get_sg_table(struct drm_gem_object *obj)
{
	struct virtbuf_bo *bo = to_virtbuf_bo(obj);
	int ret = virtbuf_bo_may_map(bo);

	if (ret)
		return ERR_PTR(ret);
	return drm_prime_pages_to_sg(obj->dev, bo->pages,
				     virtbuf_bo_page_count(bo));
}

static int virtbuf_bo_vmap(struct drm_gem_object *obj, struct iosys_map *map)
{
	struct virtbuf_bo *bo = to_virtbuf_bo(obj);
	void *address = vmap(bo->pages, virtbuf_bo_page_count(bo), VM_MAP,
			     PAGE_KERNEL);

	if (!address)
		return -ENOMEM;
	iosys_map_set_vaddr(map, address);
	return 0;
}

static void virtbuf_bo_vunmap(struct drm_gem_object *obj,
			      struct iosys_map *map)
{
	vunmap(map->vaddr);
}

static int virtbuf_bo_mmap(struct drm_gem_object *obj,
			   struct vm_area_struct *vma)
{
	/* A private mapping would be a copy that the host never sees */
	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;

	vm_flags_set(vma, VM_PFNMAP | VM_DONTEXPAND | VM_DONTDUMP);
	vma->vm_page_prot = vm_get_page_prot(vma->vm_flags);
	return 0;
}

static vm_fault_t virtbuf_bo_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct drm_gem_object *obj = vma->vm_private_data;
	struct virtbuf_bo *bo = to_virtbuf_bo(obj);
	/* pgoff has the offset of the object among all of the device's */
	unsigned long page = vmf->pgoff - drm_vma_node_start(&obj->vma_node);
	unsigned long address = vmf->address & PAGE_MASK;
	unsigned long i, count = virtbuf_bo_page_count(bo);
	vm_fault_t ret;

	if (page >= count)
		return VM_FAULT_SIGBUS;

	ret = vmf_insert_pfn(vma, address, page_to_pfn(bo->pages[page]));
	if (ret != VM_FAULT_NOPAGE)
		return ret;

	count = min3(count - page, (vma->vm_end - address) >> PAGE_SHIFT,
		     (unsigned long)VIRTBUF_FAULT_AROUND);
	for (i = 1; i < count; i++) {
		if (vmf_insert_pfn(vma, address + (i << PAGE_SHIFT),
				   page_to_pfn(bo->pages[page + i])) !=
		    VM_FAULT_NOPAGE)
			break;
	}
	return ret;
}

static enum drm_gem_object_status
virtbuf_bo_status(struct drm_gem_object *obj)
{
	return DRM_GEM_OBJECT_RESIDENT;
}

static const struct vm_operations_struct virtbuf_bo_vm_ops = {
	.fault = virtbuf_bo_fault,
	.open = drm_gem_vm_open,
	.close = drm_gem_vm_close,
};

static const struct drm_gem_object_funcs virtbuf_bo_funcs = {
	.free = virtbuf_bo_free,
	.get_sg_table = virtbuf_bo_get_sg_table,
	.vmap = virtbuf_bo_vmap,
	.vunmap = virtbuf_bo_vunmap,
	.mmap = virtbuf_bo_mmap,
	.status = virtbuf_bo_status,
	.vm_ops = &virtbuf_bo_vm_ops,
};

/*
 * The host writes to the pages behind the DMA API's back, so they must need no
 * syncing at all.
 */
#define VIRTBUF_DMA_ATTRS	DMA_ATTR_SKIP_CPU_SYNC

static void virtbuf_bo_unmap_pages(struct virtbuf_device *vb,
				   struct virtbuf_bo *bo)
{
	if (vb->dma_dev)
		dma_unmap_sgtable(vb->dma_dev, bo->sgt, DMA_BIDIRECTIONAL,
				  VIRTBUF_DMA_ATTRS);
	sg_free_table(bo->sgt);
	kfree(bo->sgt);
	bo->sgt = NULL;
}

/* What the device takes where it bypasses the DMA API */
static void virtbuf_bo_use_physical(struct sg_table *sgt)
{
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_sg(sgt, sg, i) {
		sg_dma_address(sg) = sg_phys(sg);
		sg_dma_len(sg) = sg->length;
	}
	sgt->nents = sgt->orig_nents;
}

static int virtbuf_bo_map_pages(struct virtbuf_device *vb,
				struct virtbuf_bo *bo, struct page **pages)
{
	struct scatterlist *sg;
	struct sg_table *sgt;
	unsigned int i;
	int ret;

	sgt = drm_prime_pages_to_sg(vb->drm, pages, virtbuf_bo_page_count(bo));
	if (IS_ERR(sgt))
		return PTR_ERR(sgt);
	if (!vb->dma_dev) {
		virtbuf_bo_use_physical(sgt);
		bo->sgt = sgt;
		return 0;
	}

	ret = dma_map_sgtable(vb->dma_dev, sgt, DMA_BIDIRECTIONAL,
			      VIRTBUF_DMA_ATTRS);
	if (ret) {
		sg_free_table(sgt);
		kfree(sgt);
		return ret;
	}
	bo->sgt = sgt;
	for_each_sgtable_dma_sg(sgt, sg, i) {
		/* A bounce buffer is not what the user writes to */
		if (dma_need_sync(vb->dma_dev, sg_dma_address(sg))) {
			virtbuf_bo_unmap_pages(vb, bo);
			return -EOPNOTSUPP;
		}
	}
	return 0;
}

static int virtbuf_pages_map(struct virtbuf_device *vb, struct virtbuf_bo *bo)
{
	return virtbuf_bo_map_pages(vb, bo, bo->pages);
}

/* The pages are the object's: they stay as long as there is a reference */
static void virtbuf_pages_unmap(struct virtbuf_device *vb,
				struct virtbuf_bo *bo, bool leak)
{
	virtbuf_bo_unmap_pages(vb, bo);
}

/* For objects that have virtbuf_bo.pages from their beginning to their end */
const struct virtbuf_bo_ops virtbuf_pages_ops = {
	.map = virtbuf_pages_map,
	.unmap = virtbuf_pages_unmap,
};

/**
 * virtbuf_bo_create - allocates zeroed memory in long runs
 * @vb: the device
 * @size: bytes, a multiple of the page size, not 0
 *
 * Return: the object with one reference, the caller's, or an ERR_PTR().
 */
struct virtbuf_bo *virtbuf_bo_create(struct virtbuf_device *vb, size_t size)
{
	/* A host that copies does not mind short runs */
	u32 max_runs = vb->limits.max_dmabuf_ranges ?: vb->limits.max_ranges;
	struct virtbuf_bo *bo;
	int ret;

	bo = kzalloc(sizeof(*bo), GFP_KERNEL_ACCOUNT);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	bo->pages = kvcalloc(size >> PAGE_SHIFT, sizeof(*bo->pages),
			     GFP_KERNEL_ACCOUNT);
	if (!bo->pages) {
		kfree(bo);
		return ERR_PTR(-ENOMEM);
	}
	bo->ops = &virtbuf_pages_ops;
	bo->shmem.base.funcs = &virtbuf_bo_funcs;
	drm_gem_private_object_init(vb->drm, &bo->shmem.base, size);

	ret = virtbuf_bo_alloc_pages(bo, __GFP_NORETRY);
	if (!ret && virtbuf_bo_runs(bo) > max_runs) {
		/* It would be copied as it is: let memory be compacted */
		virtbuf_bo_free_pages(bo);
		ret = virtbuf_bo_alloc_pages(bo, __GFP_RETRY_MAYFAIL);
	}
	if (!ret)
		ret = drm_gem_create_mmap_offset(&bo->shmem.base);
	if (ret) {
		drm_gem_object_put(&bo->shmem.base);
		return ERR_PTR(ret);
	}
	return bo;
}

static int virtbuf_shmem_map(struct virtbuf_device *vb, struct virtbuf_bo *bo)
{
	struct drm_gem_shmem_object *shmem = &bo->shmem;
	int ret;

	ret = drm_gem_shmem_pin_locked(shmem);
	if (ret)
		return ret;
	/*
	 * Clean pages lose their contents when they are reclaimed, and neither
	 * the host nor a mapping by PFN makes them dirty.
	 */
	shmem->pages_mark_dirty_on_put = true;
	ret = virtbuf_bo_map_pages(vb, bo, shmem->pages);
	if (ret)
		drm_gem_shmem_unpin_locked(shmem);
	return ret;
}

static void virtbuf_shmem_unmap(struct virtbuf_device *vb,
				struct virtbuf_bo *bo, bool leak)
{
	virtbuf_bo_unmap_pages(vb, bo);
	if (!leak)
		drm_gem_shmem_unpin_locked(&bo->shmem);
}

static const struct virtbuf_bo_ops virtbuf_shmem_ops = {
	.map = virtbuf_shmem_map,
	.unmap = virtbuf_shmem_unmap,
};

static struct sg_table *virtbuf_shmem_get_sg_table(struct drm_gem_object *obj)
{
	int ret = virtbuf_bo_may_map(to_virtbuf_bo(obj));

	return ret ? ERR_PTR(ret) : drm_gem_shmem_object_get_sg_table(obj);
}

/* The helpers' own, but for one */
static const struct drm_gem_object_funcs virtbuf_shmem_funcs = {
	.free = drm_gem_shmem_object_free,
	.print_info = drm_gem_shmem_object_print_info,
	.pin = drm_gem_shmem_object_pin,
	.unpin = drm_gem_shmem_object_unpin,
	.get_sg_table = virtbuf_shmem_get_sg_table,
	.vmap = drm_gem_shmem_object_vmap,
	.vunmap = drm_gem_shmem_object_vunmap,
	.mmap = drm_gem_shmem_object_mmap,
	.vm_ops = &drm_gem_shmem_vm_ops,
};

/**
 * virtbuf_gem_create_object - allocates the structure of a shmem object
 * @drm: the DRM device
 * @size: of the object, in bytes
 *
 * For the shmem helpers, which free it with kfree().
 *
 * Return: the object, or an ERR_PTR().
 */
struct drm_gem_object *virtbuf_gem_create_object(struct drm_device *drm,
						 size_t size)
{
	struct virtbuf_bo *bo = kzalloc(sizeof(*bo), GFP_KERNEL_ACCOUNT);

	static_assert(offsetof(struct virtbuf_bo, shmem) == 0);
	if (!bo)
		return ERR_PTR(-ENOMEM);
	bo->ops = &virtbuf_shmem_ops;
	bo->shmem.base.funcs = &virtbuf_shmem_funcs;
	return &bo->shmem.base;
}

/**
 * virtbuf_bo_map - pins the pages and makes the device reach them
 * @vb: the device, in a section of drm_dev_enter()
 * @bo: the object
 *
 * However often it is called, there is one mapping. Interruptible; undone by
 * virtbuf_bo_unmap().
 *
 * Return: 0, or a negative errno.
 */
int virtbuf_bo_map(struct virtbuf_device *vb, struct virtbuf_bo *bo)
{
	struct dma_resv *resv = bo->shmem.base.resv;
	int ret = 0;

	/* Fails on signals only, and nothing has happened then: start again */
	if (dma_resv_lock_interruptible(resv, NULL))
		return -ERESTARTSYS;
	if (!bo->mappings)
		ret = bo->ops->map(vb, bo);
	if (!ret)
		bo->mappings++;
	dma_resv_unlock(resv);
	return ret;
}

/**
 * virtbuf_bo_unmap - undoes virtbuf_bo_map()
 * @vb: the device, not removed yet
 * @bo: the object
 * @leak: keep the pages pinned for ever; the caller keeps its reference, too
 */
void virtbuf_bo_unmap(struct virtbuf_device *vb, struct virtbuf_bo *bo,
		      bool leak)
{
	struct dma_resv *resv = bo->shmem.base.resv;

	dma_resv_lock(resv, NULL);
	if (!--bo->mappings)
		bo->ops->unmap(vb, bo, leak);
	dma_resv_unlock(resv);
}
